// Package fleet is the root of the device's side. Its parts talk to the gateway like any device: HTTPS or MQTT, a
// client certificate, the messages of proto.
//
//	agent       on a device: readings in, messages out, nothing lost in between
//	edge        at a site: speaks for devices that cannot
//	device      a client of the gateway with an outbox
//	scenario    reads what a simulated fleet is and what befalls it; scenarios is the library
//	simulator   plays it. A scenario becomes, by package chance, a plan (who there is, whom what befalls), a fate for each device
//	            (when it is up, what it runs) and a world of lives (what it says, what gets through); fast writes the lives
//	            straight onto a log, realtime plays them through the gateway; truth is what happened, report whether it came
//	            through. The package simulator itself is the small fleet of `muster up`, which needs no scenario
package fleet
