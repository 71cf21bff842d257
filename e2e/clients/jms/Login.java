import jakarta.jms.Connection;
import jakarta.jms.JMSException;
import jakarta.jms.Session;
import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.qpid.jms.JmsConnectionFactory;

/**
 * Connects with Qpid JMS in several ways, and sends a message each time. Arguments: the queue, the file of the authority to trust, and for each way the path of
 * our own certificate and key, without their .crt and .key, or "-" for none, and the URL. Prints for each what became of it.
 */
public class Login {
    static final long PATIENCE = 8 * 60_000; // milliseconds

    public static void main(String[] args) {
        for (int i = 2; i < args.length; i += 2) {
            var factory = new JmsConnectionFactory(args[i + 1]);
            factory.setConnectTimeout(PATIENCE);
            String said = "sent";
            try {
                factory.setSslContext(tls(args[1], args[i]));
                try (Connection connection = factory.createConnection()) {
                    connection.start();
                    Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
                    session.createProducer(session.createQueue(args[0])).send(session.createTextMessage("way " + i / 2));
                }
            } catch (JMSException e) {
                said = "refused: " + e;
            } catch (Exception e) {
                said = "failed: " + e;
            }
            System.out.println("way " + i / 2 + ": " + said);
        }
        System.exit(0);
    }

    static SSLContext tls(String ca, String own) throws Exception {
        var trust = KeyStore.getInstance("PKCS12");
        trust.load(null, null);
        trust.setCertificateEntry("ca", certificate(ca));
        var trusted = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trusted.init(trust);
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        var identity = KeyStore.getInstance("PKCS12");
        identity.load(null, null);
        if (!own.equals("-")) {
            String pem = Files.readString(Path.of(own + ".key")).replaceAll("-----.*-----|\\s", "");
            var key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
            identity.setKeyEntry("own", key, new char[0], new Certificate[] {certificate(own + ".crt")});
        }
        keys.init(identity, new char[0]);
        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trusted.getTrustManagers(), null);
        return context;
    }

    static Certificate certificate(String file) throws Exception {
        try (var in = new FileInputStream(file)) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }
}
