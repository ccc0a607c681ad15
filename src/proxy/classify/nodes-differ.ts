/**
 * What PostgreSQL itself has that answers differently from node to node without an error, and what it calls volatile although any node
 * may answer it. Names are those of PostgreSQL 15 to 18; `test/proxy/classify-catalog.test.ts` sees that every name of a version has
 * been decided.
 */

/** Volatile in pg_proc, but it neither writes nor asks about the node: chance, the clock, a pause. */
export const HARMLESS_VOLATILE: readonly string[] = [
  // Nobody may expect the same number twice. After setseed() somebody may: that needs one connection, hence a transaction.
  'random',
  'random_normal',
  'array_sample',
  'array_shuffle',
  'gen_random_uuid',
  'uuidv4',
  'uuidv7',
  'clock_timestamp',
  'timeofday',
  // A pause is as long anywhere, and better kept away from the primary.
  'pg_sleep',
  'pg_sleep_for',
  'pg_sleep_until',
]

/**
 * Declared stable or immutable, and yet not the same on a standby. Names that begin with `pg_` are not listed: of those only `SAME_PG`
 * may run anywhere, so that what a future version brings stays on the primary until somebody has looked at it.
 */
export const DIFFERS: readonly string[] = [
  // Assigns a transaction id (an error on a standby), or counts transactions that a standby has not.
  'txid_current',
  'txid_current_if_assigned',
  'txid_current_snapshot',
  // Addresses and ports of the connection that was asked.
  'inet_client_addr',
  'inet_client_port',
  'inet_server_addr',
  'inet_server_port',
  // These read relations that their text does not name: they may be temporary, unlogged, foreign, or views that do anything.
  'database_to_xml',
  'database_to_xml_and_xmlschema',
  'database_to_xmlschema',
  'schema_to_xml',
  'schema_to_xml_and_xmlschema',
  'schema_to_xmlschema',
  'table_to_xml',
  'table_to_xml_and_xmlschema',
  'table_to_xmlschema',
]

/** Functions called `pg_…` that give the same on every node: they read replicated catalogs, or only compute. */
export const SAME_PG: readonly string[] = [
  'pg_basetype',
  'pg_char_to_encoding',
  'pg_client_encoding',
  'pg_collation_for',
  'pg_collation_is_visible',
  'pg_column_compression',
  'pg_column_is_updatable',
  'pg_column_size',
  'pg_column_toast_chunk_id',
  'pg_conversion_is_visible',
  'pg_describe_object',
  'pg_encoding_max_length',
  'pg_encoding_to_char',
  'pg_filenode_relation',
  'pg_function_is_visible',
  'pg_get_acl',
  'pg_get_catalog_foreign_keys',
  'pg_get_constraintdef',
  'pg_get_expr',
  'pg_get_function_arg_default',
  'pg_get_function_arguments',
  'pg_get_function_identity_arguments',
  'pg_get_function_result',
  'pg_get_function_sqlbody',
  'pg_get_functiondef',
  'pg_get_indexdef',
  'pg_get_keywords',
  'pg_get_object_address',
  'pg_get_partition_constraintdef',
  'pg_get_partkeydef',
  'pg_get_publication_tables',
  'pg_get_replica_identity_index',
  'pg_get_ruledef',
  'pg_get_serial_sequence',
  'pg_get_statisticsobjdef',
  'pg_get_statisticsobjdef_columns',
  'pg_get_statisticsobjdef_expressions',
  'pg_get_triggerdef',
  'pg_get_userbyid',
  'pg_get_viewdef',
  'pg_has_role',
  'pg_identify_object',
  'pg_identify_object_as_address',
  'pg_index_column_has_property',
  'pg_index_has_property',
  'pg_indexam_has_property',
  'pg_indexam_progress_phasename',
  'pg_input_error_info',
  'pg_input_is_valid',
  'pg_is_other_temp_schema',
  'pg_lsn',
  'pg_lsn_larger',
  'pg_lsn_mi',
  'pg_lsn_mii',
  'pg_lsn_pli',
  'pg_lsn_smaller',
  'pg_mcv_list_items',
  'pg_opclass_is_visible',
  'pg_operator_is_visible',
  'pg_opfamily_is_visible',
  'pg_options_to_table',
  'pg_partition_root',
  'pg_relation_filenode',
  'pg_relation_filepath',
  'pg_relation_is_publishable',
  'pg_relation_is_updatable',
  'pg_sequence_parameters',
  'pg_settings_get_flags',
  'pg_size_bytes',
  'pg_size_pretty',
  'pg_snapshot_xip',
  'pg_snapshot_xmax',
  'pg_snapshot_xmin',
  'pg_statistics_obj_is_visible',
  'pg_table_is_visible',
  'pg_tablespace_databases',
  'pg_timezone_abbrevs',
  'pg_timezone_abbrevs_abbrevs',
  'pg_timezone_abbrevs_zone',
  'pg_timezone_names',
  'pg_trigger_depth',
  'pg_ts_config_is_visible',
  'pg_ts_dict_is_visible',
  'pg_ts_parser_is_visible',
  'pg_ts_template_is_visible',
  'pg_type_is_visible',
  'pg_typeof',
  'pg_visible_in_snapshot',
  'pg_wal_lsn_diff',
]

/** The same as `SAME_PG`, by pattern: comparison, input and output functions of PostgreSQL's own types. */
export const SAME_PG_PATTERN =
  '^pg_(lsn|snapshot|node_tree|ndistinct|dependencies|mcv_list|ddl_command)_(in|out|recv|send|cmp|eq|ne|lt|le|gt|ge|hash|hash_extended)$'

/** Settings that say which node answers; drivers look for the primary with the first two. */
const NODE_SETTINGS = new Set([
  'transaction_read_only',
  'in_hot_standby',
  'all',
  'cluster_name',
  'config_file',
  'data_directory',
  'external_pid_file',
  'hba_file',
  'ident_file',
  'listen_addresses',
  'port',
  'promote_trigger_file',
  'restore_command',
  'synchronous_standby_names',
  'synchronized_standby_slots',
  'sync_replication_slots',
])
const NODE_SETTING_PREFIX =
  /^(archive_|bonjour|debug_|hot_standby|log_|primary_|recovery_|ssl|unix_socket_|wal_receiver_)/

/** Whether SHOW and current_setting() of it may answer differently on a standby. */
export function differsByNode(setting: string): boolean {
  const name = setting.toLowerCase()
  return NODE_SETTINGS.has(name) || NODE_SETTING_PREFIX.test(name)
}
