// Package platform is the root of what every service stands on: the log (eventlog), the read side of the
// registry (roster) and what saves reading all of it (snapshot), who may write and read the log (principals), ClickHouse
// (warehouse), MQTT (mqtt), the life of one process (daemon), how faults are waited out (outage) and what each of many holds (share).
// What only one service uses does not belong here.
package platform
