import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.DeliveryMode;
import jakarta.jms.JMSException;
import jakarta.jms.MapMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import jakarta.jms.StreamMessage;
import jakarta.jms.TextMessage;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.qpid.jms.JmsConnectionFactory;

/**
 * An application that uses Qpid JMS and knows nothing of Kafka. Arguments: the URL, the queue to send to, the queue to receive from.
 * Each line that it prints is a step that went well, with what is to be told of it.
 */
public class JMS {
    static final byte[] BYTES = {0, 1, -1, 127, -128};
    static final String TEXT = "größe ⚓ 日本";
    static final long PATIENCE = 8 * 60_000;

    public static void main(String[] args) throws Exception {
        var factory = new JmsConnectionFactory(args[0]);
        factory.setConnectTimeout(PATIENCE);
        try (Connection connection = factory.createConnection()) {
            connection.setClientID("jms-" + args[1]);
            connection.start();
            Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
            Queue to = session.createQueue(args[1]);
            Queue from = session.createQueue(args[2]);
            send(session, to);
            consume(connection, to, from);
            say("selector", refused(() -> session.createConsumer(from, "color = 'red'")));
            say("transacted", refused(() -> {
                Session transacted = connection.createSession(true, Session.SESSION_TRANSACTED);
                transacted.createProducer(to).send(transacted.createTextMessage("never"));
                transacted.commit();
            }));
            say("temporary queue", refused(session::createTemporaryQueue));
            say("browser", refused(() -> session.createBrowser(from).getEnumeration().hasMoreElements()));
            session.createProducer(to).send(session.createTextMessage("last"));
            say("still connected", "");
        }
        System.exit(0);
    }

    static void send(Session session, Queue to) throws JMSException {
        BytesMessage bytes = session.createBytesMessage();
        bytes.writeBytes(BYTES);
        TextMessage text = session.createTextMessage(TEXT);
        MapMessage map = session.createMapMessage();
        map.setInt("int", -7);
        map.setLong("long", 1L << 40);
        map.setString("string", TEXT);
        map.setBoolean("boolean", true);
        map.setDouble("double", 1.5);
        map.setFloat("float", -0.25f);
        map.setShort("short", (short) -300);
        map.setByte("byte", (byte) -3);
        map.setChar("char", 'ö');
        map.setBytes("bytes", BYTES);
        StreamMessage stream = session.createStreamMessage();
        stream.writeInt(-7);
        stream.writeString(TEXT);
        stream.writeLong(1L << 40);
        stream.writeBoolean(false);
        stream.writeBytes(BYTES);
        var producer = session.createProducer(to);
        producer.setDeliveryMode(DeliveryMode.PERSISTENT);
        producer.setPriority(7);
        for (Message m : List.of(bytes, text, map, stream)) {
            m.setStringProperty("string", TEXT);
            m.setIntProperty("int", -7);
            m.setLongProperty("long", 1L << 40);
            m.setShortProperty("short", (short) -300);
            m.setByteProperty("byte", (byte) -3);
            m.setFloatProperty("float", -0.25f);
            m.setDoubleProperty("double", 1.5);
            m.setBooleanProperty("boolean", true);
            m.setJMSCorrelationID("correlation 1");
            m.setJMSType("a type");
            m.setJMSReplyTo(session.createQueue("answers"));
            m.setStringProperty("JMSXGroupID", "a group");
            producer.send(m);
        }
        say("sent", "4");
    }

    static void consume(Connection connection, Queue to, Queue from) throws JMSException {
        Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        MessageConsumer consumer = session.createConsumer(from);
        List<Message> first = receive(consumer);
        check(first, false);
        say("received", "4");
        session.recover();
        List<Message> again = receive(consumer);
        check(again, true);
        say("recovered", "4");
        again.get(1).acknowledge(); // all that the session has received [JMS 6.2.8]
        session.close();
        session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
        consumer = session.createConsumer(from);
        Session other = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        other.createProducer(to).send(other.createTextMessage("after"));
        Message more = consumer.receive(PATIENCE);
        require(more instanceof TextMessage text && text.getText().equals("after"), "a message that was acknowledged came again: " + more);
        more.acknowledge();
        session.close();
        say("acknowledged", "4");
    }

    static List<Message> receive(MessageConsumer consumer) throws JMSException {
        var all = new ArrayList<Message>();
        for (int i = 0; i < 4; i++) {
            Message m = consumer.receive(PATIENCE);
            require(m != null, "message " + i + " does not come");
            all.add(m);
        }
        return all;
    }

    static void check(List<Message> all, boolean again) throws JMSException {
        for (Message m : all) {
            require(TEXT.equals(m.getStringProperty("string")), "string property " + m.getObjectProperty("string"));
            require(Integer.valueOf(-7).equals(m.getObjectProperty("int")), "int property");
            require(Long.valueOf(1L << 40).equals(m.getObjectProperty("long")), "long property");
            require(Short.valueOf((short) -300).equals(m.getObjectProperty("short")), "short property");
            require(Byte.valueOf((byte) -3).equals(m.getObjectProperty("byte")), "byte property");
            require(Float.valueOf(-0.25f).equals(m.getObjectProperty("float")), "float property");
            require(Double.valueOf(1.5).equals(m.getObjectProperty("double")), "double property");
            require(Boolean.TRUE.equals(m.getObjectProperty("boolean")), "boolean property");
            require("correlation 1".equals(m.getJMSCorrelationID()), "correlation id " + m.getJMSCorrelationID());
            require("a type".equals(m.getJMSType()), "type " + m.getJMSType());
            require("answers".equals(((Queue) m.getJMSReplyTo()).getQueueName()), "reply to " + m.getJMSReplyTo());
            require("a group".equals(m.getStringProperty("JMSXGroupID")), "group id");
            require(m.getJMSMessageID().startsWith("ID:"), "message id " + m.getJMSMessageID());
            require(m.getJMSTimestamp() > 0, "timestamp");
            require(m.getJMSPriority() == 7, "priority " + m.getJMSPriority());
            require(m.getJMSDeliveryMode() == DeliveryMode.PERSISTENT, "delivery mode");
            require(m.getJMSRedelivered() == again, "redelivered " + m.getJMSRedelivered());
            require(m.getIntProperty("JMSXDeliveryCount") == (again ? 2 : 1), "delivery count " + m.getIntProperty("JMSXDeliveryCount"));
        }
        BytesMessage bytes = (BytesMessage) all.get(0);
        byte[] body = new byte[(int) bytes.getBodyLength()];
        bytes.readBytes(body);
        require(Arrays.equals(BYTES, body), "bytes " + Arrays.toString(body));
        require(TEXT.equals(((TextMessage) all.get(1)).getText()), "text");
        MapMessage map = (MapMessage) all.get(2);
        require(Integer.valueOf(-7).equals(map.getObject("int")) && Long.valueOf(1L << 40).equals(map.getObject("long"))
            && TEXT.equals(map.getObject("string")) && Boolean.TRUE.equals(map.getObject("boolean")) && Double.valueOf(1.5).equals(map.getObject("double"))
            && Float.valueOf(-0.25f).equals(map.getObject("float")) && Short.valueOf((short) -300).equals(map.getObject("short"))
            && Byte.valueOf((byte) -3).equals(map.getObject("byte")) && Character.valueOf('ö').equals(map.getObject("char"))
            && Arrays.equals(BYTES, map.getBytes("bytes")), "map");
        StreamMessage stream = (StreamMessage) all.get(3);
        require(stream.readInt() == -7 && TEXT.equals(stream.readString()) && stream.readLong() == 1L << 40 && !stream.readBoolean(), "stream");
        require(Arrays.equals(BYTES, (byte[]) stream.readObject()), "bytes of the stream");
    }

    interface Step {
        void run() throws JMSException;
    }

    static String refused(Step step) {
        try {
            step.run();
        } catch (JMSException e) {
            return e.getMessage();
        }
        throw new IllegalStateException("not refused");
    }

    static void require(boolean is, String what) {
        if (!is) {
            throw new IllegalStateException(what);
        }
    }

    static void say(String step, String what) {
        System.out.println(step + ": " + what);
    }
}
