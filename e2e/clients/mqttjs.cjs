// mqtt.js, led by the tests: a command a line on standard input, an event a line on standard output, each written as a
// URL's query. harness/driver.go has the other side.
'use strict'

const { AsyncLocalStorage } = require('async_hooks')
const fs = require('fs')
const mqtt = require('mqtt')

const encode = (b) => Buffer.from(b).toString('base64url')
const decode = (s) => Buffer.from(s, 'base64url')
const connections = {}

function emit(conn, event, fields = []) {
  const q = new URLSearchParams([['conn', conn], ['event', event], ...fields])
  process.stdout.write(q.toString() + '\n')
}

function properties(q) {
  const p = {}
  if (q.has('format')) p.payloadFormatIndicator = q.get('format') === '1'
  if (q.has('expiry')) p.messageExpiryInterval = Number(q.get('expiry'))
  if (q.has('contentType')) p.contentType = q.get('contentType')
  if (q.has('responseTopic')) p.responseTopic = q.get('responseTopic')
  if (q.has('correlation')) p.correlationData = decode(q.get('correlation'))
  if (q.has('alias')) p.topicAlias = Number(q.get('alias'))
  const values = q.getAll('userValue')
  q.getAll('userKey').forEach((k, i) => {
    p.userProperties ??= {}
    p.userProperties[k] = k in p.userProperties ? [].concat(p.userProperties[k], values[i]) : values[i]
  })
  return p
}

function* messageFields(topic, payload, packet) {
  yield ['topic', topic]
  yield ['payload', encode(payload)]
  yield ['qos', packet.qos]
  yield ['retain', packet.retain ? 1 : 0]
  const p = packet.properties ?? {}
  if (p.payloadFormatIndicator !== undefined) yield ['format', p.payloadFormatIndicator ? 1 : 0]
  if (p.messageExpiryInterval !== undefined) yield ['expiry', p.messageExpiryInterval]
  if (p.contentType !== undefined) yield ['contentType', p.contentType]
  if (p.responseTopic !== undefined) yield ['responseTopic', p.responseTopic]
  if (p.correlationData !== undefined) yield ['correlation', encode(p.correlationData)]
  for (const [k, values] of Object.entries(p.userProperties ?? {})) {
    for (const v of [].concat(values)) {
      yield ['userKey', k]
      yield ['userValue', v]
    }
  }
  for (const id of [].concat(p.subscriptionIdentifier ?? [])) yield ['subscriptionID', id]
}

const ops = {
  connect(conn, q) {
    const version = Number(q.get('version'))
    const options = {
      clientId: q.get('client'),
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      clean: true,
      reconnectPeriod: 0,
      connectTimeout: 3_600_000, // the tests' own patience ends earlier
      keepalive: Number(q.get('keepAlive') ?? 30),
      ca: q.has('ca') ? fs.readFileSync(q.get('ca')) : undefined,
      ...(version === 5 && { properties: { topicAliasMaximum: 10 }, autoAssignTopicAlias: q.get('autoAlias') === '1' })
    }
    if (q.has('willTopic')) {
      options.will = { topic: q.get('willTopic'), payload: decode(q.get('payload')), qos: Number(q.get('qos')), retain: q.get('retain') === '1' }
      if (version === 5) options.will.properties = properties(q)
    }
    const c = (connections[conn] = mqtt.connect(q.get('url'), options))
    c.on('connect', (connack) => emit(conn, 'connected', [['reason', connack.reasonCode ?? connack.returnCode ?? 0]]))
    c.on('message', (topic, payload, packet) => emit(conn, 'message', messageFields(topic, payload, packet)))
    c.on('error', (e) => emit(conn, 'error', [['reason', e.message]]))
    c.on('close', () => emit(conn, 'closed', [['reason', '']]))
  },
  subscribe(conn, q) {
    const options = { qos: Number(q.get('qos')), nl: q.get('noLocal') === '1', rap: q.get('retainAsPublished') === '1', rh: Number(q.get('retainHandling') ?? 0) }
    if (q.has('id')) options.properties = { subscriptionIdentifier: Number(q.get('id')) }
    connections[conn].subscribe(q.get('filter'), options, (err, granted) => {
      if (err) emit(conn, 'error', [['reason', err.message]])
      else emit(conn, 'subscribed', [['reason', granted[0].qos]])
    })
  },
  publish(conn, q) {
    const options = { qos: Number(q.get('qos')), retain: q.get('retain') === '1', properties: properties(q) }
    connections[conn].publish(q.get('topic'), decode(q.get('payload')), options, (err, packet) => {
      if (err) emit(conn, 'published', [['reason', err.code ?? err.message]])
      else emit(conn, 'published', [['reason', packet?.reasonCode ?? 0]])
    })
  },
  disconnect(conn) {
    connections[conn].end()
  }
}

// What goes wrong later than its command ends the command's connection: the program serves those of all tests.
const commanded = new AsyncLocalStorage()
process.on('uncaughtException', (e) => {
  console.error(e)
  emit(commanded.getStore(), 'closed', [['reason', e]])
})

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const q = new URLSearchParams(line)
  commanded.run(q.get('conn'), () => {
    try {
      ops[q.get('op')](q.get('conn'), q)
    } catch (e) {
      emit(q.get('conn'), 'error', [['reason', e.message]])
    }
  })
}).on('close', () => process.exit(0))
