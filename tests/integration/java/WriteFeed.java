import java.io.IOException;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.SparkSession;

/** Writes a feed from Spark without any Python: {@code java … WriteFeed.java URI FEED ROWS}. */
public final class WriteFeed {
  private WriteFeed() {}

  public static void main(String[] arguments) throws IOException {
    try (SparkSession spark =
        SparkSession.builder()
            .master("local[2]")
            .appName("without Python")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .getOrCreate()) {
      Dataset<Row> rows =
          spark
              .range(0, Long.parseLong(arguments[2]), 1, 4)
              .selectExpr(
                  "id",
                  "cast(id % 7 as float) / 2 as rating",
                  "concat('user ', id % 100) as user",
                  "array(cast(id as int), cast(id + 1 as int)) as pair");
      rows.write()
          .format("flightbridge")
          .option("uri", arguments[0])
          .option("feed", arguments[1])
          .option("shards", "3")
          .option("shuffle", "true")
          .mode(SaveMode.ErrorIfExists)
          .save();
    }
  }
}
