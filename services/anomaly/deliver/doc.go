// Package deliver tells receivers of incidents: Alertmanager, PagerDuty, any webhook.
//
// In: muster.incidents.v1, what was committed. Out: for each route its own messages. A route is a receiver with a filter, and
// a consumer group of its own: a slow or dead receiver holds up nobody else, and of several processes one delivers.
//
// What counts is the latest state of each incident, not each record: what changed while a receiver was away is told once,
// as it stands. An incident that was resolved before a receiver heard of it is not told at all. A route's offset is committed
// only after the receiver's 2xx, so a message may be sent again after a death, under the same key, and none is lost.
//
// Never a storm: a route tells at most so many incidents a minute on their own, the worst first, and the rest as one
// summary. See docs/alerting.md.
//
// What the room is not: it decides nothing about incidents, and who is on duty is the receiver's to know.
package deliver
