// Package local is the Source of devices that speak MQTT to the edge themselves: 3.1.1 and 5.0, QoS 0 and 1, PUBLISH only.
//
// Who speaks: on a listener of the machine itself, anybody of the machine, and the client id is the device. With client
// certificates, whom the certificate names (a SPIFFE id of a device, or a common name that is a device's); with a password file, the user that the
// file knows. Those speak for the device of their own name, and for others when they are listed as speakers, as a
// local broker or a collector is. Nothing else listens on a network unless the configuration says so in as many words.
//
// Topics: telemetry and events are the client's own; telemetry/{device} and events/{device} are another's. Aliases are Hono's, t,
// t//{device} and e for events, and v1/devices/me/telemetry.
//
// PUBACK means that the message is on the edge's disk. What is refused is said by its reason code to a client of 5.0, and
// to one of 3.1.1, which has no words for it, by the end of the connection.
package local
