// Package daemon is the life of one process: how it is configured, how it starts, how it says that it is well,
// how it stops, and with which code it ends. Every service's main and every part of the local stack is one call
// of Main or Execute; what does one thing and ends is one call of Job.
//
// The order of things:
//
//	configuration (YAML, strict) -> environment -> secrets from files -> Validate -> --check | --dump | run
//	run starts rooms, the last one first -> ready -> signal or failure -> rooms stop, the first one first
//
// Exit codes: 0 the process was asked to stop and stopped in order; 1 it failed, panicked or did not stop in time;
// 2 the command line or the configuration is wrong and nothing was started.
//
// What does not belong here: anything that knows of Kafka, of ClickHouse or of devices.
package daemon
