// Package telegraf reads what Telegraf sends: its JSON, one metric or a list of them under "metrics", and InfluxDB's line
// protocol. Both say the same:
//
//	{"metrics":[{"name":"env","tags":{"device_id":"boiler-7","room":"B2"},"fields":{"temp_c":21.5},"timestamp":1795341850}]}
//	env,device_id=boiler-7,room=B2 temp_c=21.5 1795341850000000000
//
// Of each field of a metric comes one of our values:
//
//	device  the tag device_id; without that the tag device; without both the tag host. Where the device is named
//	        already, by a path or a topic, a tag device_id must say the same, and the others do not count
//	metric  <name>_<field>, and the values of all other tags, by the tags' names, each after a "_": env_temp_c_b2. The tag host
//	        is never one of them. Letters become small, what is no letter or digit becomes "_"; a name of more than 63
//	        bytes is cut and ends with a hash of the whole
//	time    the timestamp; whether it counts seconds, milliseconds, microseconds or nanoseconds shows in its size. Without
//	        one it is the time at which the body came
//
// What is of one device and one time becomes one message, or several when it has more metrics than a message may: a
// Telegraf that got no answer sends its metrics again, but not in the same bodies, and what it surely does not change is
// which metrics stand together at a time.
//
// It is pure, bounded by Limits whatever it reads, and knows nothing of who may speak for whom.
package telegraf
