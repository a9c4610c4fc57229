// Package anomaly is the room of the detectors: it will judge the log, turn silence and failure into
// incidents and let their verdicts halt rollouts. Its detectors are pure functions of records.
//
// It holds no code yet; what it may import is fixed in the workspace's import rules.
package anomaly
