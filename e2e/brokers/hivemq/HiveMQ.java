import java.nio.file.Path;

import com.hivemq.embedded.EmbeddedHiveMQ;

/** HiveMQ CE. Arguments: the folders of its configuration, data and extensions, which exist. */
public class HiveMQ {
    public static void main(String[] args) throws Exception {
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(Path.of(args[0]))
                .withDataFolder(Path.of(args[1]))
                .withExtensionsFolder(Path.of(args[2]))
                .build();
        broker.start().join();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        Thread.currentThread().join();
    }
}
