-- Adds the position of each event to the results of event_store.append_batch.
--
-- The attribute is the last one, so that callers that read columns by name or by number find what they know.
alter type event_store.append_result add attribute positions bigint[];
