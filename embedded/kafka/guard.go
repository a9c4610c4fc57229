package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a connection may ask of the broker. kfake believes a request's size, allocates it at once, dies of a request
// whose key it does not know, and keeps who says nothing for ever.
const (
	maxRequest         = 100 << 20 // Kafka's socket.request.max.bytes
	maxStrangerRequest = 64 << 10  // before the connection has proved who it is
	maxConnections     = 1024
	maxStrangers       = 256 // of them; the oldest gives way
	maxOfUser          = 256 // of them
	// scramRounds is how many answers without an error make a user of a stranger: SCRAM has two rounds.
	scramRounds = 2
	// maxExamined bounds a request that is read here.
	maxExamined = 1 << 20
	// maxFetch bounds what one fetch brings, but for its first batch; a client then asks again.
	maxFetch = 16 << 20
)

// patience is how long a stranger may take to say who he is.
const patience = 10 * time.Second

// unread is how long a client may leave an answer untaken, which is in memory meanwhile.
const unread = time.Minute

// guard looks at the head of each request before kfake reads it: size, and key. It is used by one reader and one
// writer at a time, as kfake does.
type guard struct {
	net.Conn
	door door
	once sync.Once

	head [12]byte // size, key, version and correlation id of the request under way
	have []byte   // what of head the reader has not had yet
	left int      // bytes of the request behind its head
	read bool     // it is to be read here, whole

	watch *watch // of members; nil: nobody wants to know

	mu     sync.Mutex
	known  bool    // guarded by mu: the connection has proved who it is
	user   string  // guarded by mu: who it says to be
	rounds int     // guarded by mu
	asked  []asked // guarded by mu: a stranger's requests without an answer yet
}

// asked is what the guard remembers of a request until its answer passes.
type asked struct{ key, version int16 }

// door is what a connection came in by. Its functions may be nil.
type door struct {
	admit func(*guard, string) error // says whether one who has proved to be that user may stay
	leave func(*guard, string)       // gives the connection's place back; the user is empty when it is a stranger's
}

// newGuard watches a connection; known says that nobody has to authenticate.
func newGuard(c net.Conn, known bool, members *members, d door) (*guard, error) {
	g := &guard{Conn: c, door: d, known: known}
	if members != nil {
		g.watch = members.watch(c)
	}
	if known {
		return g, nil
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("bound a connection: %w", err)
	}
	return g, nil
}

// Read gives the reader requests that are within bounds, and an error in place of one that is not. The end of what the
// client says waits for the answers about members that it is still owed.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.next(p)
	if err != nil && g.watch != nil {
		g.watch.hold()
	}
	return n, err
}

func (g *guard) next(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(g.have) == 0 && g.left == 0 {
		if _, err := io.ReadFull(g.Conn, g.head[:]); err != nil {
			return 0, err
		}
		if err := g.judge(); err != nil {
			return 0, err
		}
		g.have = g.head[:]
		if g.read {
			if err := g.examine(); err != nil {
				return 0, err
			}
		}
	}
	if len(g.have) > 0 {
		n := copy(p, g.have)
		g.have = g.have[n:]
		return n, nil
	}
	n, err := g.Conn.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// examine reads the rest of a request before kfake has any of it.
func (g *guard) examine() error {
	whole := make([]byte, len(g.head)+g.left)
	copy(whole, g.head[:])
	if _, err := io.ReadFull(g.Conn, whole[len(g.head):]); err != nil {
		return err
	}
	g.have, g.left = whole, 0
	req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(g.head[4:])))
	req.SetVersion(int16(binary.BigEndian.Uint16(g.head[6:])))
	b := kbin.Reader{Src: whole[len(g.head):]}
	b.NullableString() // the client's id
	if req.IsFlexible() {
		kmsg.SkipTags(&b)
	}
	if !b.Ok() {
		return fmt.Errorf("%w: its head is unreadable", errRequest)
	}
	if kmsg.Key(req.Key()) == kmsg.Fetch {
		return boundFetch(b.Src, req.GetVersion())
	}
	if err := req.ReadFrom(b.Src); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	switch r := req.(type) {
	case *kmsg.JoinGroupRequest:
		if err := joinable(r); err != nil {
			return err
		}
	case *kmsg.SASLAuthenticateRequest:
		g.named(r.SASLAuthBytes)
		return nil
	}
	g.mu.Lock()
	known, user := g.known, g.user
	g.mu.Unlock()
	if g.watch != nil && known {
		g.watch.asked(req, int32(binary.BigEndian.Uint32(g.head[8:])), user)
	}
	return nil
}

// named takes the name from the first message of a SCRAM exchange (RFC 5802, 7): "n,,n=name,r=nonce".
func (g *guard) named(message []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known || g.rounds > 0 {
		return
	}
	if _, rest, ok := strings.Cut(string(message), ",n="); ok {
		g.user, _, _ = strings.Cut(rest, ",")
	}
}

// boundFetch lowers, in place, what a fetch asks for: kfake would put all of it into one answer.
func boundFetch(body []byte, version int16) error {
	at := 12 // behind the replica, the wait and the least bytes
	if version >= 15 {
		at = 8 // the replica has become a tag
	}
	if version < 3 || len(body) < at+4 {
		return fmt.Errorf("%w: a fetch of version %d that names no bound", errRequest, version)
	}
	if most := int32(binary.BigEndian.Uint32(body[at:])); most > maxFetch {
		binary.BigEndian.PutUint32(body[at:], maxFetch)
	}
	return nil
}

// joinable refuses what makes kfake's groups panic: a member without a protocol, and one that names a protocol twice.
func joinable(r *kmsg.JoinGroupRequest) error {
	names := make(map[string]bool, len(r.Protocols))
	for _, p := range r.Protocols {
		names[p.Name] = true
	}
	if len(names) == 0 || len(names) != len(r.Protocols) {
		return fmt.Errorf("%w: a join with %d protocols, %d of them different", errRequest, len(r.Protocols), len(names))
	}
	return nil
}

var errRequest = errors.New("the request is refused")

func (g *guard) judge() error {
	size := int32(binary.BigEndian.Uint32(g.head[0:]))
	key, version := int16(binary.BigEndian.Uint16(g.head[4:])), int16(binary.BigEndian.Uint16(g.head[6:]))
	g.mu.Lock()
	defer g.mu.Unlock()
	most := int32(maxRequest)
	if !g.known {
		most = maxStrangerRequest
		g.asked = append(g.asked, asked{key, version})
	}
	if size < int32(len(g.head)-4) || size > most {
		return fmt.Errorf("%w: it claims %d bytes, at most %d are taken", errRequest, size, most)
	}
	if r := kmsg.RequestForKey(key); r == nil || version < 0 {
		return fmt.Errorf("%w: key %d, version %d", errRequest, key, version)
	}
	g.left = int(size) - (len(g.head) - 4)
	g.read = watched(key) || kmsg.Key(key) == kmsg.Fetch || kmsg.Key(key) == kmsg.SASLAuthenticate && !g.known
	if g.read && g.left > maxExamined {
		return fmt.Errorf("%w: it claims %d bytes, at most %d are taken of its kind", errRequest, size, maxExamined)
	}
	return nil
}

// Write passes an answer on; kfake writes each at once, in the order of the requests.
func (g *guard) Write(p []byte) (int, error) {
	if err := g.answered(p); err != nil {
		return 0, err
	}
	if g.watch != nil && len(p) >= 8 {
		g.watch.answered(int32(binary.BigEndian.Uint32(p[4:])), p[8:])
	}
	if err := g.Conn.SetWriteDeadline(time.Now().Add(unread)); err != nil {
		return 0, err
	}
	return g.Conn.Write(p)
}

func (g *guard) answered(p []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known || len(g.asked) == 0 {
		return nil
	}
	to := g.asked[0]
	g.asked = g.asked[1:]
	if kmsg.Key(to.key) != kmsg.SASLAuthenticate {
		g.rounds = 0 // a handshake begins anew
		return nil
	}
	code := 8 // behind size and correlation id
	if to.version >= 2 {
		code++ // an empty section of tags
	}
	if len(p) < code+2 || binary.BigEndian.Uint16(p[code:]) != 0 {
		return nil
	}
	if g.rounds++; g.rounds < scramRounds {
		return nil
	}
	if g.door.admit != nil {
		if err := g.door.admit(g, g.user); err != nil {
			return err
		}
	}
	g.known, g.asked = true, nil
	return g.Conn.SetReadDeadline(time.Time{})
}

// Close gives the place back once.
func (g *guard) Close() error {
	err := g.Conn.Close()
	if g.watch != nil {
		g.watch.close()
	}
	g.once.Do(func() {
		if g.door.leave == nil {
			return
		}
		user := ""
		g.mu.Lock()
		if g.known {
			user = g.user
		}
		g.mu.Unlock()
		g.door.leave(g, user)
	})
	return err
}
