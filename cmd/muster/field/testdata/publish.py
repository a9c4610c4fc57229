"""Publishes counted messages by paho, and says each that was answered for. paho keeps what was not, and sends it again when it is connected again."""
import json, sys, time
import paho.mqtt.client as mqtt

host, port, device, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
answered = 0


def on_publish(client, userdata, mid):
    global answered
    answered += 1
    print(mid - 1, flush=True)  # it counts its messages from 1


client = mqtt.Client(client_id=device, clean_session=False)
client.on_publish = on_publish
client.reconnect_delay_set(1, 1)
client.max_inflight_messages_set(10)
while True:
    try:
        client.connect(host, port)
        break
    except OSError:
        time.sleep(0.1)
client.loop_start()
for n in range(count):
    body = {"boot": 1, "seq": n, "readings": [{"ts": int(time.time() * 1000), "metrics": {"n": n}}]}
    client.publish("telemetry", json.dumps(body), qos=1)
    time.sleep(0.01)
while answered < count:
    time.sleep(0.05)
client.disconnect()
client.loop_stop()
