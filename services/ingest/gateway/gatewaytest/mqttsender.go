package gatewaytest

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// MQTTSender is a Sender that speaks MQTT 5.
type MQTTSender struct {
	Took []time.Duration // from each message to its PUBACK
	Err  error           // the first failure, after which nothing is sent

	c       *tls.Conn
	r       *bufio.Reader
	out     []byte
	id      uint16
	message *Message
}

// ConnectMQTT is Connect by MQTT; each message has steps steps.
func ConnectMQTT(dir, device, addr string, number, steps int) (*MQTTSender, error) {
	c, err := dial(dir, device, addr)
	if err != nil {
		return nil, err
	}
	s := &MQTTSender{c: c, r: bufio.NewReaderSize(c, 1024), message: NewMessageOf(number, steps)}
	hello := packet.Connect{Version: packet.V5, CleanStart: true, KeepAlive: 300, ClientID: []byte(device)}
	if _, err := c.Write(hello.Append(nil)); err != nil {
		return nil, fmt.Errorf("introduce %s: %w", device, err)
	}
	if s.Err = s.answer(packet.CONNACK); s.Err != nil {
		return nil, s.Err
	}
	return s, nil
}

// Close ends the connection.
func (s *MQTTSender) Close() error { return s.c.Close() }

// Taken is Took and Err.
func (s *MQTTSender) Taken() (*[]time.Duration, error) { return &s.Took, s.Err }

// Send sends the next message with QoS 1 and waits for its PUBACK.
func (s *MQTTSender) Send() error {
	s.id = s.id%1000 + 1
	m := packet.Publish{QoS: 1, ID: s.id, Topic: []byte("telemetry"), Payload: s.message.Next()}
	s.out = m.Append(s.out[:0], packet.V5)
	began := time.Now()
	if _, s.Err = s.c.Write(s.out); s.Err != nil {
		return s.Err
	}
	if s.Err = s.answer(packet.PUBACK); s.Err == nil {
		s.Took = append(s.Took, time.Since(began))
	}
	return s.Err
}

// answer reads a packet of this type, no further than to know that it is a good one.
func (s *MQTTSender) answer(want packet.Type) error {
	head, err := s.r.Peek(2)
	if err != nil {
		return err
	}
	kind, n := packet.Type(head[0]>>4), int(head[1]) // what is told here is shorter than 128 bytes, unless it is a failure
	if _, err := s.r.Discard(2); err != nil {
		return err
	}
	body := make([]byte, n&0x7f)
	if _, err := io.ReadFull(s.r, body); err != nil {
		return err
	}
	switch {
	case kind != want || n > 0x7f:
		return fmt.Errorf("%v came: % x", kind, body)
	case kind == packet.PUBACK && (binary.BigEndian.Uint16(body) != s.id || n > 2 && body[2] >= 0x80):
		return fmt.Errorf("PUBACK of % x", body)
	case kind == packet.CONNACK && body[1] != 0:
		return fmt.Errorf("CONNACK of % x", body)
	}
	return nil
}
