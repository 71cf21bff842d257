import io.vertx.core.Vertx;
import io.vertx.core.net.PemKeyCertOptions;
import io.vertx.core.net.PemTrustOptions;
import io.vertx.proton.ProtonClient;
import io.vertx.proton.ProtonClientOptions;
import io.vertx.proton.ProtonConnection;
import io.vertx.proton.ProtonDelivery;
import io.vertx.proton.ProtonHelper;
import io.vertx.proton.ProtonLink;
import io.vertx.proton.ProtonLinkOptions;
import io.vertx.proton.ProtonQoS;
import io.vertx.proton.ProtonReceiver;
import io.vertx.proton.ProtonSender;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.qpid.proton.amqp.Symbol;
import org.apache.qpid.proton.amqp.UnsignedInteger;
import org.apache.qpid.proton.amqp.UnsignedLong;
import org.apache.qpid.proton.amqp.messaging.Accepted;
import org.apache.qpid.proton.amqp.messaging.Modified;
import org.apache.qpid.proton.amqp.messaging.Rejected;
import org.apache.qpid.proton.amqp.messaging.Released;
import org.apache.qpid.proton.amqp.messaging.Source;
import org.apache.qpid.proton.amqp.transport.DeliveryState;
import org.apache.qpid.proton.amqp.transport.ErrorCondition;
import org.apache.qpid.proton.message.Message;

/**
 * Vert.x's AMQP client, led by the tests: a command a line on standard input, an event a line on standard output, each
 * written as a URL's query. harness/ledpeer.go has the other side.
 */
public class Vertx5 {
    static final Vertx vertx = Vertx.vertx();
    static final Map<String, ProtonConnection> conns = new HashMap<>();
    static final Map<String, ProtonLink<?>> links = new HashMap<>();
    static final Map<String, ProtonDelivery> deliveries = new HashMap<>();
    static int next;

    public static void main(String[] args) throws Exception {
        var context = vertx.getOrCreateContext(); // everything happens on one thread
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            var q = new Query(line);
            context.runOnContext(v -> run(q));
        }
        System.exit(0);
    }

    static void run(Query q) {
        String conn = q.get("conn");
        try {
            switch (q.get("op")) {
                case "connect" -> connect(q, conn);
                case "attach" -> attach(q, conn);
                case "send" -> send(q, conn);
                case "flow" -> flow(q, conn);
                case "settle" -> settle(q);
                case "detach" -> link(q).close();
                case "drop" -> conns.get(conn).disconnect();
                case "close" -> conns.get(conn).close();
                default -> throw new IllegalArgumentException(q.get("op"));
            }
        } catch (Exception e) {
            e.printStackTrace();
            emit(conn, "closed", "condition", "driver", "description", e);
        }
    }

    static ProtonLink<?> link(Query q) {
        return links.get(q.get("conn") + "/" + q.get("link"));
    }

    static void connect(Query q, String name) {
        var url = URI.create(q.get("url"));
        var options = new ProtonClientOptions();
        options.addEnabledSaslMechanism(q.get("mechanism"));
        if (url.getScheme().equals("amqps")) {
            options.setSsl(true);
            options.setSslHandshakeTimeout(3600); // the tests' own patience ends earlier
            options.setHostnameVerificationAlgorithm("HTTPS");
            options.setTrustOptions(new PemTrustOptions().addCertPath(q.get("ca")));
            if (!q.get("cert").isEmpty()) {
                options.setKeyCertOptions(new PemKeyCertOptions().addCertPath(q.get("cert")).addKeyPath(q.get("key")));
            }
        }
        String user = q.get("user").isEmpty() ? null : q.get("user");
        String password = user == null ? null : q.get("password");
        ProtonClient.create(vertx).connect(options, url.getHost(), url.getPort(), user, password, result -> {
            if (result.failed()) {
                emit(name, "closed", "condition", "connect", "description", result.cause());
                return;
            }
            var conn = result.result().setContainer(q.get("container"));
            conns.put(name, conn);
            conn.openHandler(opened -> {
                if (opened.succeeded()) {
                    emit(name, "opened");
                }
            });
            conn.closeHandler(closed -> {
                conn.close();
                conn.disconnect();
                emit(name, "closed", reason(conn.getRemoteCondition()));
            });
            conn.disconnectHandler(gone -> emit(name, "closed", "condition", "socket", "description", "closed"));
            conn.open();
        });
    }

    static void attach(Query q, String name) {
        var conn = conns.get(name);
        String ref = q.get("link");
        String address = q.has("address") ? q.get("address") : null;
        var options = new ProtonLinkOptions();
        if (!q.get("name").isEmpty()) {
            options.setLinkName(q.get("name"));
        }
        var qos = q.has("settled") ? ProtonQoS.AT_MOST_ONCE : ProtonQoS.AT_LEAST_ONCE;
        if (q.get("role").equals("sender")) {
            var sender = conn.createSender(address, options).setQoS(qos).setAutoSettle(true);
            handle(sender, name, ref, () -> sender.getRemoteTarget() != null);
            links.put(name + "/" + ref, sender);
            sender.open();
            return;
        }
        var receiver = conn.createReceiver(address, options).setQoS(qos).setPrefetch(0).setAutoAccept(false);
        handle(receiver, name, ref, () -> receiver.getRemoteSource() != null);
        var filters = new HashMap<Symbol, Object>();
        for (int i = 0; i < q.all("filterName").size(); i++) {
            filters.put(Symbol.valueOf(q.all("filterName").get(i)), value(q.all("filterType").get(i), q.all("filterValue").get(i)));
        }
        if (!filters.isEmpty()) {
            ((Source) receiver.getSource()).setFilter(filters);
        }
        receiver.handler((delivery, message) -> {
            String id = String.valueOf(++next);
            deliveries.put(id, delivery);
            var fields = new ArrayList<Object>(List.of("link", ref, "ref", id, "payload", encode(encoded(message)), "tag", encode(delivery.getTag())));
            if (delivery.remotelySettled()) {
                fields.addAll(List.of("settled", 1));
            }
            emit(name, "message", fields.toArray());
        });
        links.put(name + "/" + ref, receiver);
        receiver.open();
    }

    static <T extends ProtonLink<T>> void handle(T link, String name, String ref, java.util.function.BooleanSupplier granted) {
        link.openHandler(opened -> {
            if (granted.getAsBoolean()) { // else a detach follows
                emit(name, "attached", "link", ref);
            }
        });
        link.closeHandler(closed -> {
            link.close();
            emit(name, "detached", with(ref, reason(link.getRemoteCondition())));
        });
        link.detachHandler(detached -> {
            link.detach();
            emit(name, "detached", with(ref, reason(link.getRemoteCondition())));
        });
    }

    static Object value(String type, String v) {
        return switch (type) {
            case "int" -> Integer.valueOf(v);
            case "uint" -> UnsignedInteger.valueOf(v);
            case "long" -> Long.valueOf(v);
            case "ulong" -> UnsignedLong.valueOf(v);
            default -> v;
        };
    }

    static void send(Query q, String name) {
        var sender = (ProtonSender) link(q);
        var message = Message.Factory.create();
        byte[] b = Base64.getUrlDecoder().decode(q.get("payload"));
        message.decode(b, 0, b.length);
        String ref = q.get("ref");
        emit(name, "sent", "link", q.get("link"), "ref", ref, "payload", encode(encoded(message)));
        sender.send(ref.getBytes(StandardCharsets.UTF_8), message, delivery -> {
            var fields = new ArrayList<Object>(List.of("link", q.get("link"), "ref", ref, "state", state(delivery.getRemoteState())));
            if (delivery.getRemoteState() instanceof Rejected r) {
                fields.addAll(Arrays.asList(reason(r.getError())));
            }
            emit(name, "outcome", fields.toArray());
        });
    }

    static String state(DeliveryState s) {
        return s == null ? "none" : s.getClass().getSimpleName().toLowerCase();
    }

    static void flow(Query q, String name) {
        var receiver = (ProtonReceiver) link(q);
        int credit = Integer.parseInt(q.get("credit"));
        if (credit > 0) {
            receiver.flow(credit);
        }
        if (q.has("drain")) {
            receiver.drain(0, done -> emit(name, "drained", "link", q.get("link")));
        }
    }

    static void settle(Query q) {
        var delivery = deliveries.remove(q.get("ref"));
        switch (q.get("state")) {
            case "accepted" -> delivery.disposition(Accepted.getInstance(), true);
            case "released" -> delivery.disposition(Released.getInstance(), true);
            case "rejected" -> {
                var rejected = new Rejected();
                rejected.setError(new ErrorCondition(Symbol.valueOf(q.get("condition")), q.get("description")));
                delivery.disposition(rejected, true);
            }
            default -> ProtonHelper.modified(delivery, true, q.has("failed"), q.has("undeliverable"));
        }
    }

    static byte[] encoded(Message m) {
        for (int size = 4096; ; size *= 4) {
            try {
                byte[] b = new byte[size];
                return Arrays.copyOf(b, m.encode(b, 0, size));
            } catch (java.nio.BufferOverflowException | IndexOutOfBoundsException e) {
                if (size > 1 << 26) {
                    throw e;
                }
            }
        }
    }

    static Object[] reason(ErrorCondition c) {
        if (c == null || c.getCondition() == null) {
            return new Object[0];
        }
        return new Object[] {"condition", c.getCondition(), "description", c.getDescription() == null ? "" : c.getDescription()};
    }

    static Object[] with(String ref, Object[] more) {
        var all = new ArrayList<Object>(List.of("link", ref));
        all.addAll(Arrays.asList(more));
        return all.toArray();
    }

    static synchronized void emit(String conn, String event, Object... fields) {
        var s = new StringBuilder("conn=" + conn + "&event=" + event);
        for (int i = 0; i < fields.length; i += 2) {
            s.append('&').append(fields[i]).append('=').append(URLEncoder.encode(String.valueOf(fields[i + 1]), StandardCharsets.UTF_8));
        }
        System.out.println(s);
    }

    static String encode(byte[] b) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(b);
    }

    /** A URL's query. */
    static class Query {
        final Map<String, List<String>> fields = new HashMap<>();

        Query(String line) {
            for (String pair : line.strip().split("&")) {
                String[] kv = pair.split("=", 2);
                fields.computeIfAbsent(kv[0], k -> new ArrayList<>()).add(URLDecoder.decode(kv[1], StandardCharsets.UTF_8));
            }
        }

        boolean has(String k) {
            return fields.containsKey(k);
        }

        String get(String k) {
            return has(k) ? fields.get(k).get(0) : "";
        }

        List<String> all(String k) {
            return fields.getOrDefault(k, List.of());
        }
    }
}
