"""Publishes each line of standard input with QoS 1, by paho as its users have it, and ends when all are acknowledged."""
import json
import ssl
import sys

import paho.mqtt.client as mqtt

o = json.loads(sys.argv[1])
version = mqtt.MQTTv5 if o["version"] == "5.0" else mqtt.MQTTv311
kept = {"clean_start": mqtt.MQTT_CLEAN_START_FIRST_ONLY} if version == mqtt.MQTTv5 else {}
client = mqtt.Client(client_id=o["device"], protocol=version) if version == mqtt.MQTTv5 else mqtt.Client(
    client_id=o["device"], protocol=version, clean_session=False)
client.tls_set(ca_certs=o["ca"], certfile=o["cert"], keyfile=o["key"], tls_version=ssl.PROTOCOL_TLS_CLIENT)
client.reconnect_delay_set(min_delay=1, max_delay=1)
client.connect(o["host"], o["port"], keepalive=30, **kept)
client.loop_start()
sent = [client.publish(o["topic"], line.rstrip("\n"), qos=1) for line in sys.stdin]
for m in sent:
    while not m.is_published():
        m.wait_for_publish(1)
client.disconnect()
client.loop_stop()
print("acknowledged", len(sent))
