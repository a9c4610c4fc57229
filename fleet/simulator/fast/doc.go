// Package fast plays a world in fast time: weeks in minutes, straight onto a log, as if gateways and a registry had written it.
//
// In: a world, and a log that holds nothing yet. Out: on the topics of telemetry and events the records that the gateways would
// have written, each with the simulated instant of its arrival as CreateTime, the device's stamp, and for events the ce_ headers;
// on the topic of the registry, chained, what it would have said of topics, profiles, cohorts and devices, each when it was time,
// and what an engine of rollouts would have said there: who is control, who is taken by which stage, and when each stage starts.
// Each gateway, one a region, writes its watermark to each partition at every beat; it writes none while it is out, and none writes
// any while the log stands still.
//
// Three things differ from a gateway's log. A duplicate is written, as two gateways would: one alone knows the last messages and
// keeps it out. The beat is a minute and not five seconds, unless told. And the topics keep everything for ever.
//
// A partition's records are in order of time, then of device, then as the device's life has them. They are the same bytes for any
// number of workers: the lives are cut into fixed lots, any worker may take any lot, and what the lots gave for a slot of time is
// sorted before it is written. Memory holds two slots.
package fast
