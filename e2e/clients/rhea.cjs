// rhea, led by the tests: a command a line on standard input, an event a line on standard output, each written as a URL's
// query. harness/ledpeer.go has the other side.
'use strict';
const { AsyncLocalStorage } = require('async_hooks');
const fs = require('fs');
const readline = require('readline');
const rhea = require('rhea');
const codec = require('rhea/lib/message.js');
const WebSocket = require('ws');

const conns = {};
const deliveries = {};
let next = 0;

// What rhea reads it makes values of JavaScript; the tests want to see what came.
let came;
const decode = codec.decode;
codec.decode = (b) => decode(came = b);

function emit(conn, event, fields) {
  const q = new URLSearchParams({ conn, event });
  for (const [key, value] of Object.entries(fields || {})) {
    if (value !== undefined) q.append(key, value);
  }
  process.stdout.write(q.toString() + '\n');
}

const reason = (error) => (error ? { condition: error.condition, description: error.description || '' } : {});
// granted tells whether a terminus came with an attach; without one a detach follows. rhea makes an object of null, too.
const granted = (terminus) => terminus && terminus.value !== null;
const closed = (name, error) => emit(name, 'closed', error || { condition: 'socket', description: 'closed' });

function connect(q, name) {
  const url = new URL(q.get('url'));
  const options = {
    host: url.hostname, port: url.port, container_id: q.get('container'), reconnect: false, sasl_mechanisms: undefined,
    username: q.get('user') || undefined, password: q.get('password') || undefined,
  };
  if (q.get('mechanism') === 'EXTERNAL') options.enable_sasl_external = true;
  if (q.get('mechanism') === 'ANONYMOUS') options.username = 'anonymous';
  const tls = {};
  let web;
  if (q.get('ca')) tls.ca = [fs.readFileSync(q.get('ca'))];
  if (q.get('cert')) Object.assign(tls, { cert: fs.readFileSync(q.get('cert')), key: fs.readFileSync(q.get('key')) });
  if (url.protocol === 'amqps:') Object.assign(options, tls, { transport: 'tls', servername: 'localhost' });
  if (url.protocol.startsWith('amqpws')) {
    const Web = function (...args) { return (web = new WebSocket(...args)); };
    options.connection_details = rhea.websocket_connect(Web)(q.get('url').replace('amqpws', 'ws'), ['amqp'], tls);
  }
  const conn = rhea.create_container().connect(options);
  const drop = () => (web ? web.terminate() : conn.socket.destroy(new Error('dropped')));
  conns[name] = { conn, links: {}, drop };
  conn.on('connection_open', () => emit(name, 'opened'));
  conn.on('connection_close', () => closed(name, conn.error && reason(conn.error)));
  conn.on('connection_error', () => closed(name, reason(conn.error)));
  conn.on('disconnected', ({ error }) => closed(name, error && { condition: 'socket', description: error.message || error }));
  conn.on('protocol_error', (e) => closed(name, { condition: 'protocol', description: e }));
  conn.on('error', (e) => closed(name, { condition: 'error', description: e }));
}

const typed = {
  int: rhea.types.wrap_int, uint: rhea.types.wrap_uint, long: rhea.types.wrap_long, ulong: rhea.types.wrap_ulong,
  string: rhea.types.wrap_string,
};

function attach(q, name) {
  const { conn, links } = conns[name];
  const link = q.get('link');
  const terminus = q.has('address') ? { address: q.get('address') } : {};
  const options = { name: q.get('name') || undefined, snd_settle_mode: q.has('settled') ? 1 : undefined, rcv_settle_mode: q.has('second') ? 1 : 0 };
  let l;
  if (q.get('role') === 'sender') {
    options.snd_settle_mode = q.has('settled') ? 1 : 0;
    l = conn.open_sender({ ...options, target: terminus, autosettle: true });
    l.on('sender_open', () => granted(l.remote.attach.target) && emit(name, 'attached', { link }));
    l.on('sender_close', () => emit(name, 'detached', { link, ...reason(l.error) }));
    l.on('sender_error', () => emit(name, 'detached', { link, ...reason(l.error) }));
    const outcome = (state) => (c) => emit(name, 'outcome', {
      link, ref: c.delivery.tag.toString(), state, ...reason(c.delivery.remote_state && c.delivery.remote_state.error),
    });
    l.on('accepted', outcome('accepted'));
    l.on('rejected', outcome('rejected'));
    l.on('released', outcome('released'));
    l.on('modified', outcome('modified'));
  } else {
    const names = q.getAll('filterName');
    if (names.length > 0) {
      terminus.filter = {};
      names.forEach((n, i) => {
        const type = q.getAll('filterType')[i];
        const value = q.getAll('filterValue')[i];
        terminus.filter[n] = typed[type](type === 'string' ? value : Number(value));
      });
    }
    l = conn.open_receiver({ ...options, source: terminus, credit_window: 0, autoaccept: false, autosettle: false });
    l.on('receiver_open', () => granted(l.remote.attach.source) && emit(name, 'attached', { link }));
    l.on('receiver_close', () => emit(name, 'detached', { link, ...reason(l.error) }));
    l.on('receiver_error', () => emit(name, 'detached', { link, ...reason(l.error) }));
    l.on('receiver_drained', () => {
      l.drain = false;
      emit(name, 'drained', { link });
    });
    l.on('message', (c) => {
      const ref = String(++next);
      deliveries[ref] = c.delivery;
      emit(name, 'message', {
        link, ref, payload: came.toString('base64url'), raw: 1, tag: c.delivery.tag.toString('base64url'),
        settled: c.delivery.remote_settled ? 1 : undefined,
      });
    });
  }
  links[link] = l;
}

function send(q, name) {
  const l = conns[name].links[q.get('link')];
  const payload = Buffer.from(q.get('payload'), 'base64url');
  const encoded = codec.encode(decode(payload));
  emit(name, 'sent', { link: q.get('link'), ref: q.get('ref'), payload: encoded.toString('base64url') });
  l.send(encoded, Buffer.from(q.get('ref')), 0);
}

function flow(q, name) {
  const l = conns[name].links[q.get('link')];
  l.add_credit(Number(q.get('credit')));
  if (q.has('drain')) l.drain_credit();
}

function settle(q) {
  const d = deliveries[q.get('ref')];
  delete deliveries[q.get('ref')];
  switch (q.get('state')) {
    case 'accepted': return d.accept();
    case 'rejected': return d.reject({ condition: q.get('condition'), description: q.get('description') });
    case 'released': return d.release();
    default: return d.modified({ delivery_failed: q.has('failed'), undeliverable_here: q.has('undeliverable') });
  }
}

const ops = {
  connect, attach, send, flow, settle,
  detach: (q, name) => conns[name].links[q.get('link')].close(),
  drop: (q, name) => conns[name].drop(),
  close: (q, name) => conns[name].conn.close(),
};

// What goes wrong ends the connection of the command that led to it, now or later: the program serves those of all tests.
const commanded = new AsyncLocalStorage();
function failed(e) {
  console.error(e);
  closed(commanded.getStore(), { condition: 'driver', description: e });
}
process.on('uncaughtException', failed);

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const q = new URLSearchParams(line);
  commanded.run(q.get('conn'), () => {
    try {
      ops[q.get('op')](q, q.get('conn'));
    } catch (e) {
      failed(e);
    }
  });
}).on('close', () => process.exit(0));
