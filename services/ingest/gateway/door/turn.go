package door

// computing is how many handshakes compute at once: enough for every core, and few enough that those which have begun end
// before their time is up when a whole fleet comes back.
const computing = 64

// turn is a handshake's right to compute. It rests while the peer is waited for, so that one who is silent, or sends a
// byte a second, keeps nobody from computing. The zero value, of a connection that has shaken hands, does nothing.
type turn struct {
	of   chan struct{}
	held bool
}

func (t *turn) take() {
	if t.of != nil {
		t.of <- struct{}{}
		t.held = true
	}
}

func (t *turn) rest() {
	if t.held {
		<-t.of
		t.held = false
	}
}

// end gives the turn back for good.
func (t *turn) end() {
	t.rest()
	t.of = nil
}
