// Package anomaly is the detectors' process: it judges the log, turns silence, failures, odd readings and runaway cost into
// incidents, and tells people of them. README.md beside it has its rooms in the order in which a record meets them.
//
// What it says is a function of the log. It writes to three topics, and no other service asks it for anything.
package anomaly
