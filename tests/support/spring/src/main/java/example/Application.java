package example;

import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManager;
import java.util.UUID;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.transaction.support.TransactionTemplate;

/** Writes a row through JPA and an event through JDBC, in one transaction, and prints what it worked as. */
@SpringBootApplication
public class Application {
  public static void main(String[] args) {
    SpringApplication.run(Application.class, args).close();
  }

  @Bean
  CommandLineRunner work(
      EntityManager entities, JdbcTemplate jdbc, TransactionTemplate transaction, HikariDataSource pool) {
    return args -> transaction.executeWithoutResult(status -> {
      UUID id = UUID.randomUUID();
      entities.persist(new Note(id, "by Spring"));
      entities.flush();
      jdbc.queryForObject(
          "select event_store.append_events('Note', ?, 0,"
              + " array['{\"event_type\":\"NoteWritten\",\"event_data\":{}}']::jsonb[])",
          UUID.class, id);
      String who = jdbc.queryForObject("select session_user || ' as ' || current_user", String.class);
      System.out.println("RESULT " + String.join(" | ", id.toString(), who, pool.getJdbcUrl(), pool.getPoolName(),
          "max " + pool.getMaximumPoolSize(), "idle " + pool.getMinimumIdle(), "auto-commit " + pool.isAutoCommit(),
          "rewrites " + pool.getDataSourceProperties().get("reWriteBatchedInserts")));
    });
  }
}
