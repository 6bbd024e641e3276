package example;

import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import java.util.UUID;

/** A table of the application's own: command_model.note, which Hibernate looks at when it starts. */
@Entity
public class Note {
  @Id
  private UUID noteId;
  private String writtenText;

  protected Note() {}

  public Note(UUID noteId, String writtenText) {
    this.noteId = noteId;
    this.writtenText = writtenText;
  }
}
