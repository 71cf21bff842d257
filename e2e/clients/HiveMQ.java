import com.hivemq.client.mqtt.MqttClient;
import com.hivemq.client.mqtt.MqttClientSslConfig;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3AsyncClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5AsyncClient;
import com.hivemq.client.mqtt.mqtt5.datatypes.Mqtt5UserProperties;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PayloadFormatIndicator;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5RetainHandling;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.TrustManagerFactory;

/**
 * HiveMQ's client, led by the tests: a command a line on standard input, an event a line on standard output, each written
 * as a URL's query. harness/driver.go has the other side.
 */
public class HiveMQ {
    static final Map<String, Object> clients = new HashMap<>();

    public static void main(String[] args) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            var q = new Query(line);
            try {
                switch (q.get("op")) {
                    case "connect" -> connect(q);
                    case "subscribe" -> subscribe(q);
                    case "publish" -> publish(q);
                    case "disconnect" -> disconnect(q);
                    default -> emit(q.get("conn"), "error", "reason", "unknown op");
                }
            } catch (Exception e) {
                emit(q.get("conn"), "error", "reason", e);
            }
        }
        System.exit(0);
    }

    static void connect(Query q) throws Exception {
        var url = URI.create(q.get("url"));
        String conn = q.get("conn");
        var builder = MqttClient.builder().identifier(q.get("client")).serverHost(url.getHost()).serverPort(url.getPort())
            .addDisconnectedListener(c -> emit(conn, "closed", "reason", c.getCause()));
        if (url.getScheme().equals("mqtts")) {
            builder.sslConfig(trust(q.get("ca")));
        }
        if (!q.get("version").equals("5")) {
            var client = builder.useMqttVersion3().buildAsync();
            clients.put(conn, client);
            client.publishes(MqttGlobalPublishFilter.ALL, m -> emit(conn, "message", "topic", m.getTopic(),
                "payload", encode(m.getPayloadAsBytes()), "qos", m.getQos().getCode(), "retain", m.isRetain() ? 1 : 0));
            then(conn, "connected", client.connectWith().keepAlive(30).send(), ack -> ack.getReturnCode().getCode());
            return;
        }
        var client = builder.useMqttVersion5().buildAsync();
        clients.put(conn, client);
        client.publishes(MqttGlobalPublishFilter.ALL, m -> {
            var fields = new ArrayList<Object>(List.of("topic", m.getTopic(), "payload", encode(m.getPayloadAsBytes()),
                "qos", m.getQos().getCode(), "retain", m.isRetain() ? 1 : 0));
            m.getPayloadFormatIndicator().ifPresent(v -> fields.addAll(List.of("format", v.getCode())));
            m.getMessageExpiryInterval().ifPresent(v -> fields.addAll(List.of("expiry", v)));
            m.getContentType().ifPresent(v -> fields.addAll(List.of("contentType", v)));
            m.getResponseTopic().ifPresent(v -> fields.addAll(List.of("responseTopic", v)));
            m.getCorrelationData().ifPresent(v -> fields.addAll(List.of("correlation", encode(bytes(v)))));
            for (var p : m.getUserProperties().asList()) {
                fields.addAll(List.of("userKey", p.getName(), "userValue", p.getValue()));
            }
            emit(conn, "message", fields.toArray());
        });
        then(conn, "connected", client.connectWith().keepAlive(30).send(), ack -> ack.getReasonCode().getCode());
    }

    static void subscribe(Query q) {
        String conn = q.get("conn");
        var qos = MqttQos.fromCode(Integer.parseInt(q.get("qos")));
        if (clients.get(conn) instanceof Mqtt3AsyncClient client) {
            then(conn, "subscribed", client.subscribeWith().topicFilter(q.get("filter")).qos(qos).send(),
                ack -> ack.getReturnCodes().get(0).getCode());
            return;
        }
        var handling = q.get("retainHandling").isEmpty() ? 0 : Integer.parseInt(q.get("retainHandling"));
        var send = ((Mqtt5AsyncClient) clients.get(conn)).subscribeWith().topicFilter(q.get("filter")).qos(qos)
            .noLocal(q.get("noLocal").equals("1")).retainAsPublished(q.get("retainAsPublished").equals("1"))
            .retainHandling(Mqtt5RetainHandling.fromCode(handling)).send();
        then(conn, "subscribed", send, ack -> ack.getReasonCodes().get(0).getCode());
    }

    static void publish(Query q) {
        String conn = q.get("conn");
        var qos = MqttQos.fromCode(Integer.parseInt(q.get("qos")));
        boolean retain = q.get("retain").equals("1");
        if (clients.get(conn) instanceof Mqtt3AsyncClient client) {
            then(conn, "published", client.publishWith().topic(q.get("topic")).qos(qos).retain(retain)
                .payload(decode(q.get("payload"))).send(), ack -> 0);
            return;
        }
        var user = Mqtt5UserProperties.builder();
        for (int i = 0; i < q.all("userKey").size(); i++) {
            user.add(q.all("userKey").get(i), q.all("userValue").get(i));
        }
        var publish = ((Mqtt5AsyncClient) clients.get(conn)).publishWith().topic(q.get("topic")).qos(qos).retain(retain)
            .payload(decode(q.get("payload"))).userProperties(user.build());
        if (q.has("format")) {
            publish.payloadFormatIndicator(Mqtt5PayloadFormatIndicator.fromCode(Integer.parseInt(q.get("format"))));
        }
        if (q.has("expiry")) {
            publish.messageExpiryInterval(Long.parseLong(q.get("expiry")));
        }
        if (q.has("contentType")) {
            publish.contentType(q.get("contentType"));
        }
        if (q.has("responseTopic")) {
            publish.responseTopic(q.get("responseTopic"));
        }
        if (q.has("correlation")) {
            publish.correlationData(decode(q.get("correlation")));
        }
        then(conn, "published", publish.send(), result -> result.getError().map(Object.class::cast).orElse(0));
    }

    static void disconnect(Query q) {
        if (clients.get(q.get("conn")) instanceof Mqtt3AsyncClient client) {
            client.disconnect();
        } else {
            ((Mqtt5AsyncClient) clients.get(q.get("conn"))).disconnect();
        }
    }

    static <T> void then(String conn, String event, CompletableFuture<T> future, java.util.function.Function<T, Object> reason) {
        future.thenApply(reason).whenComplete((v, e) -> emit(conn, e == null ? event : "error", "reason", e == null ? v : e));
    }

    static MqttClientSslConfig trust(String ca) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var in = new FileInputStream(ca)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return MqttClientSslConfig.builder().trustManagerFactory(factory).handshakeTimeout(1, TimeUnit.HOURS).build(); // the tests' own patience ends earlier
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

    static byte[] decode(String s) {
        return Base64.getUrlDecoder().decode(s);
    }

    static byte[] bytes(ByteBuffer b) {
        var array = new byte[b.remaining()];
        b.duplicate().get(array);
        return array;
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
