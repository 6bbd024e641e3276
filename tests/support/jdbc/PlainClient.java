// A JVM client that uses none of this project's code: pgjdbc with its defaults, autocommit off as Spring and Hikari do.
// Reads JDBC_URL, PGUSER and PGPASSWORD; prints a line for each check.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.UUID;
import org.postgresql.util.PSQLException;

public class PlainClient {
  static final String APPEND = "select * from event_store.append("
      + "event_store.stream_id_of(?, ?), ?, ?, ?, ?::jsonb)";

  public static void main(String[] words) throws SQLException {
    var env = System.getenv();
    try (var connection = DriverManager.getConnection(env.get("JDBC_URL"), env.get("PGUSER"), env.get("PGPASSWORD"))) {
      connection.setAutoCommit(false);
      var order = UUID.randomUUID();
      // More than prepareThreshold: the last ones are prepared on the server.
      for (int version = 0; version < 8; version++) {
        append(connection, order, version);
        connection.commit();
      }
      System.out.println("appended " + countStream(connection, order));
      System.out.println("conflict " + refusal(connection, () -> append(connection, order, 3)));
      System.out.println("usable after it " + connection.isValid(5) + ", version " + append(connection, order, 8));
      connection.rollback();
      System.out.println("after the rollback " + countStream(connection, order));
      System.out.println("log " + (countLog(connection) >= 8));
      connection.commit();
      connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      System.out.println("repeatable read " + refusal(connection, () -> countLog(connection)));
    }
  }

  interface Work {
    void run() throws SQLException;
  }

  /** What a program can read from an error: the SQLSTATE and the detail. */
  static String refusal(Connection connection, Work work) throws SQLException {
    try {
      work.run();
      return "none";
    } catch (PSQLException error) {
      connection.rollback();
      return error.getSQLState() + " " + error.getServerErrorMessage().getDetail();
    }
  }

  static int append(Connection connection, UUID order, int expected) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(APPEND)) {
      statement.setString(1, "Order");
      statement.setObject(2, order);
      statement.setString(3, "Order");
      statement.setObject(4, order);
      statement.setInt(5, expected);
      statement.setString(6, "[{\"event_type\": \"OrderPlaced\", \"event_data\": {\"total\": 42}}]");
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        return rows.getInt("last_version");
      }
    }
  }

  static int countStream(Connection connection, UUID order) throws SQLException {
    try (var statement = connection.prepareStatement("select * from event_store.read_stream(?, ?)")) {
      statement.setString(1, "Order");
      statement.setObject(2, order);
      return count(statement);
    }
  }

  static int countLog(Connection connection) throws SQLException {
    long safe;
    try (var rows = connection.createStatement().executeQuery("select event_store.safe_position()")) {
      rows.next();
      safe = rows.getLong(1);
    }
    try (var statement = connection.prepareStatement("select * from event_store.read_all(?, ?, up_to_position => ?)")) {
      statement.setLong(1, 0);
      statement.setInt(2, 1000);
      statement.setLong(3, safe);
      return count(statement);
    }
  }

  static int count(PreparedStatement statement) throws SQLException {
    try (var rows = statement.executeQuery()) {
      int count = 0;
      while (rows.next()) {
        rows.getObject("event_id", UUID.class);
        rows.getString("event_data");
        count++;
      }
      return count;
    }
  }
}
