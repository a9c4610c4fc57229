// Publishes each line of standard input with QoS 1, by MQTT.js as its users have it, and ends when all are acknowledged.
const fs = require('fs')
const mqtt = require('mqtt')

const o = JSON.parse(process.argv[2])
const client = mqtt.connect({
  protocol: 'mqtts', host: o.host, port: o.port, protocolVersion: o.version === '5.0' ? 5 : 4, clientId: o.device,
  clean: o.version === '5.0', reconnectPeriod: 500, reconnectOnConnackError: true,
  ca: fs.readFileSync(o.ca), cert: fs.readFileSync(o.cert), key: fs.readFileSync(o.key)
})
client.on('error', e => console.error(e.message))
const lines = fs.readFileSync(0, 'utf8').split('\n').filter(l => l)
Promise.all(lines.map(l => client.publishAsync(o.topic, l, { qos: 1 })))
  .then(() => client.endAsync())
  .then(() => console.log('acknowledged', lines.length))
  .catch(e => { console.error(e); process.exit(1) })
