// Package thingsboard reads the bodies that ThingsBoard takes on v1/devices/me/telemetry, all JSON:
//
//	{"temp_c":21.5,"state":"ok"}                         now, as the gateway's clock has it
//	{"ts":1795341850123,"values":{"temp_c":21.5}}        then, in Unix milliseconds
//	[ … ]                                                a list of either
//
// They have no place for boot and seq, so a message that is sent again is stored again. What holds of names, values and
// counts in a batch holds here too. A value that is an object or a list is refused: ThingsBoard would keep its text.
package thingsboard
