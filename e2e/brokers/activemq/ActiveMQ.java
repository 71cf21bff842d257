import java.io.File;

import org.apache.activemq.broker.BrokerService;

/** ActiveMQ Classic. Arguments: the folder that it keeps its messages in, and the URI of each connector. */
public class ActiveMQ {
    public static void main(String[] args) throws Exception {
        BrokerService broker = new BrokerService();
        broker.setBrokerName("e2e");
        broker.setDataDirectoryFile(new File(args[0]));
        broker.setUseJmx(false);
        broker.setAdvisorySupport(false);
        for (int i = 1; i < args.length; i++) {
            broker.addConnector(args[i]);
        }
        broker.start();
        broker.waitUntilStopped();
    }
}
