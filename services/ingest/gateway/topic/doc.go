// Package topic reads what the topic of an MQTT message says: telemetry or events, whose, in which body form, and what the
// sender wants done when it is refused. It knows Muster's own topics, Hono's, ThingsBoard's one and Telegraf's one:
//
//	telemetry                 events                 the device's own
//	telemetry/{device}        events/{device}        another's, by one who may act for it
//	t, telemetry   t//{device}   t/default/{device}  Hono's; e, event for events; a property bag may follow: /?key=value&…
//	v1/devices/me/telemetry                          ThingsBoard's
//	v1/{device}/telemetry                            Telegraf's, by one who may act for the device
//
// Who may send to which is not decided here.
package topic
