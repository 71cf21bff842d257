import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.max;
import static org.apache.spark.sql.functions.window;

import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.Trigger;

/**
 * Prints the highest temperature of each five seconds, of all that AMQP and MQTT clients send. Arguments: Kafka's brokers, and {@code once} to
 * end with what is there.
 */
class Temperature {
  /** The section of a JSON document's body, or what is no document. */
  static final String READING = "coalesce(get_json_object(CAST(value AS STRING), '$.body.section'), CAST(value AS STRING))";

  public static void main(String[] args) throws Exception {
    SparkSession spark =
        SparkSession.builder().appName("temperature").master("local[1]")
            .config("spark.ui.enabled", "false").config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "1").getOrCreate();
    spark.readStream().format("kafka")
        .option("kafka.bootstrap.servers", args[0]).option("subscribe", "temperature").option("startingOffsets", "earliest")
        .load()
        .selectExpr("timestamp", "TRY_CAST(" + READING + " AS DOUBLE) AS degrees") // when it was received, and what it says
        .withWatermark("timestamp", "10 seconds")
        .groupBy(window(col("timestamp"), "5 seconds"))
        .agg(max("degrees").as("highest"))
        .writeStream().outputMode("update").format("console").option("truncate", "false")
        .trigger(args.length > 1 ? Trigger.AvailableNow() : Trigger.ProcessingTime("5 seconds"))
        .start().awaitTermination();
  }
}
