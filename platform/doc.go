// Package platform is the root of what every service stands on: the log (eventlog), the read side of the
// registry (roster), ClickHouse (warehouse) and the life of one process (daemon). What only one service
// uses does not belong here.
package platform
