package clickhouse

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// engineXML is the engine's configuration, read at its start: sizes for a small machine, and the two roles.
// (Users cannot be added by SQL, and a connection is always user default; but it may give up a role.)
func engineXML(cfg Config, self string) []byte {
	var path bytes.Buffer
	_ = xml.EscapeText(&path, []byte(self)) // a Buffer does not fail
	var backups bytes.Buffer
	_ = xml.EscapeText(&backups, []byte(cfg.DataDir+"/backups/"))
	fsync := ""
	if cfg.Sync {
		fsync = `
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>`
	}
	return fmt.Appendf(nil, `<clickhouse>
  <logger><level>none</level></logger>
  <max_server_memory_usage>%d</max_server_memory_usage>
  <mark_cache_size>134217728</mark_cache_size>
  <index_mark_cache_size>67108864</index_mark_cache_size>
  <primary_index_cache_size>134217728</primary_index_cache_size>
  <unique_key_index_cache_size_bytes>33554432</unique_key_index_cache_size_bytes>
  <query_condition_cache_size>33554432</query_condition_cache_size>
  <compiled_expression_cache_size>33554432</compiled_expression_cache_size>
  <text_index_tokens_cache_size>33554432</text_index_tokens_cache_size>
  <text_index_header_cache_size>33554432</text_index_header_cache_size>
  <text_index_postings_cache_size>33554432</text_index_postings_cache_size>
  <vector_similarity_index_cache_size>33554432</vector_similarity_index_cache_size>
  <parquet_metadata_cache_size>33554432</parquet_metadata_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
  <merge_tree>%s
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
  <backups><allowed_path>%s</allowed_path></backups>
  <users_config>%s</users_config>
  <user_directories><users_xml><path>%s</path></users_xml></user_directories>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <no_password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
      <grants><query>GRANT service</query><query>GRANT analyst</query></grants>
    </default>
  </users>
  <roles>
    <service><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></service>
    <analyst><grants>
      <query>GRANT SELECT ON *.*</query>
      <query>REVOKE SELECT ON default.*</query>
      <query>GRANT SHOW ON *.*</query>
      <query>GRANT dictGet ON *.*</query>
    </grants></analyst>
  </roles>
</clickhouse>
`, cfg.MaxMemory, fsync, backups.Bytes(), path.Bytes(), path.Bytes())
}
