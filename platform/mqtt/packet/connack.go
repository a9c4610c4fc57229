package packet

// Connack is the server's answer to CONNECT. What is zero is left out of its properties, but for what is said otherwise.
type Connack struct {
	SessionPresent bool
	Reason         Reason

	// Of 5.0 alone.
	SessionExpiry   *uint32 // nil: as the client asked
	ReceiveMaximum  uint16
	MaximumPacket   uint32
	TopicAliasMax   uint16
	AssignedID      string
	Text            string  // why
	KeepAlive       *uint16 // nil: as the client asked
	ServerReference string
	PublishOnly     bool // QoS 1 at most, nothing retained, no wildcards, no shared subscriptions, no subscription identifiers
}

var connackMay = of(propSessionExpiry, propReceiveMaximum, propMaximumQoS, propRetainAvailable, propMaximumPacket, propAssignedClientID,
	propTopicAliasMax, propReasonString, propUser, propWildcards, propSubscriptionIDs, propShared, propServerKeepAlive, propResponseInfo,
	propServerReference, propAuthMethod, propAuthData)

// Append is the packet's bytes.
func (k *Connack) Append(dst []byte, v Version) []byte {
	present := byte(0)
	if k.SessionPresent {
		present = 1
	}
	if v != V5 {
		return append(appendHeader(dst, CONNACK, 0, 2), present, k.Reason.ReturnCode())
	}
	var room [128]byte
	a := appender(room[:0])
	if k.SessionExpiry != nil {
		a = a.uint32(propSessionExpiry, *k.SessionExpiry)
	}
	if k.ReceiveMaximum != 0 {
		a = a.uint16(propReceiveMaximum, k.ReceiveMaximum)
	}
	if k.PublishOnly {
		for _, id := range [...]byte{propRetainAvailable, propWildcards, propSubscriptionIDs, propShared} {
			a = a.uint8(id, 0)
		}
		a = a.uint8(propMaximumQoS, 1)
	}
	if k.MaximumPacket != 0 {
		a = a.uint32(propMaximumPacket, k.MaximumPacket)
	}
	if k.TopicAliasMax != 0 {
		a = a.uint16(propTopicAliasMax, k.TopicAliasMax)
	}
	if k.AssignedID != "" {
		a = a.text(propAssignedClientID, k.AssignedID)
	}
	if k.KeepAlive != nil {
		a = a.uint16(propServerKeepAlive, *k.KeepAlive)
	}
	if k.Text != "" {
		a = a.text(propReasonString, k.Text)
	}
	if k.ServerReference != "" {
		a = a.text(propServerReference, k.ServerReference)
	}
	dst = appendHeader(dst, CONNACK, 0, 2+varintLen(len(a))+len(a))
	dst = append(dst, present, byte(k.Reason))
	return append(appendVarint(dst, len(a)), a...)
}

// Decode reads the body of a CONNACK, as a client does.
func (k *Connack) Decode(body []byte, v Version) error {
	*k = Connack{}
	c := cursor{b: body, t: CONNACK}
	flags, code := c.byte("flags"), c.byte("reason code")
	if c.err == nil && flags > 1 {
		c.fail(malformed("CONNACK with reserved flags set"))
	}
	k.SessionPresent, k.Reason = flags&1 != 0, Reason(code)
	if v != V5 {
		if r, ok := fromReturnCode(code); ok {
			k.Reason = r
		} else if c.err == nil {
			c.fail(malformed("CONNACK with the return code %d", code))
		}
		return c.end()
	}
	p := c.properties(connackMay)
	for p.next() {
		switch p.id {
		case propSessionExpiry:
			k.SessionExpiry = new(p.num)
		case propReceiveMaximum:
			if !p.zero("receive maximum") {
				k.ReceiveMaximum = uint16(p.num)
			}
		case propMaximumPacket:
			if !p.zero("maximum packet size") {
				k.MaximumPacket = p.num
			}
		case propTopicAliasMax:
			k.TopicAliasMax = uint16(p.num)
		case propMaximumQoS:
			k.PublishOnly = p.num == 1
		case propAssignedClientID:
			k.AssignedID = string(p.value)
		case propServerKeepAlive:
			k.KeepAlive = new(uint16(p.num))
		case propReasonString:
			k.Text = string(p.value)
		case propServerReference:
			k.ServerReference = string(p.value)
		}
	}
	c.err = p.err
	return c.end()
}
