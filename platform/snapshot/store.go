package snapshot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
)

const (
	// chunkSize leaves room for the batch around a chunk.
	chunkSize = 1<<20 - 1<<12
	// headerID tells the chunks of two snapshots of one slot apart.
	headerID = "snapshot"
)

// Put writes what fill writes as a snapshot of the registry into a slot. What it returns has Slot, Start, Chunks and Sum;
// the rest is for the caller, who names it in the log. On an error nothing names what was written, and it is never read.
func Put(ctx context.Context, cfg eventlog.Config, slot uint8, fill func(io.Writer) error) (event.SnapshotTaken, error) {
	ref, err := registry.Put(ctx, cfg, uint64(slot), fill)
	if err != nil {
		return event.SnapshotTaken{}, err
	}
	return event.SnapshotTaken{Slot: slot, Start: ref.Start, Chunks: ref.Chunks, Sum: ref.Sum}, nil
}

// Put writes what fill writes as the snapshot of that number. On an error it is never read, for nothing names it.
func (p Place) Put(ctx context.Context, cfg eventlog.Config, no uint64, fill func(io.Writer) error) (Ref, error) {
	client, err := writing(cfg)
	if err != nil {
		return Ref{}, err
	}
	defer client.Close()
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return Ref{}, fmt.Errorf("name a snapshot: %w", err)
	}
	out := &putter{ctx: ctx, client: client, place: p, id: id, sum: sha256.New(), taken: Ref{No: no}}
	err = fill(out)
	if err == nil && len(out.chunk) > 0 {
		err = out.flush()
	}
	if err != nil {
		return Ref{}, fmt.Errorf("write a snapshot: %w", err)
	}
	if out.taken.Chunks == 0 {
		return Ref{}, errors.New("write a snapshot: it is empty")
	}
	out.taken.Sum = out.sum.Sum(nil)
	return out.taken, nil
}

// writing is a client that writes chunks.
func writing(cfg eventlog.Config) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(eventlog.MaxRecordBytes),
		kgo.ProduceRequestTimeout(10*time.Second),
		kgo.RecordDeliveryTimeout(30*time.Second),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client of a snapshot: %w", err)
	}
	return client, nil
}

// putter cuts a stream into chunks. One at a time is under way: it is not what anybody waits for.
type putter struct {
	ctx    context.Context
	client *kgo.Client
	place  Place
	id     []byte
	chunk  []byte
	sum    hash.Hash
	taken  Ref
}

func (p *putter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		take := min(len(b), chunkSize-len(p.chunk))
		p.chunk = append(p.chunk, b[:take]...)
		b = b[take:]
		if len(p.chunk) == chunkSize {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (p *putter) flush() error {
	if p.taken.Chunks == event.MaxSnapshotChunks {
		return fmt.Errorf("it has more than %d chunks", event.MaxSnapshotChunks)
	}
	rec := &kgo.Record{
		Topic: record.TopicSnapshots, Partition: p.place.Partition, Key: p.place.key(p.taken.No, p.taken.Chunks), Value: p.chunk,
		Headers: []kgo.RecordHeader{{Key: headerID, Value: p.id}},
	}
	if err := p.client.ProduceSync(p.ctx, rec).FirstErr(); err != nil {
		return err
	}
	if p.taken.Chunks == 0 {
		p.taken.Start = rec.Offset
	}
	p.taken.Chunks++
	p.sum.Write(p.chunk)
	p.chunk = p.chunk[:0]
	return nil
}

// Get reads the registry's snapshot that taken names and hands its stream to read. A nil error says that the stream was
// read to its end and is, byte for byte, what taken names; on any other what read made of it is worth nothing.
func Get(ctx context.Context, cfg eventlog.Config, taken event.SnapshotTaken, read func(io.Reader) error) error {
	return registry.Get(ctx, cfg, Ref{No: uint64(taken.Slot), Start: taken.Start, Chunks: taken.Chunks, Sum: taken.Sum}, read)
}

// Get reads the snapshot that taken names, as the function Get does that of the registry.
func (p Place) Get(ctx context.Context, cfg eventlog.Config, taken Ref, read func(io.Reader) error) error {
	if taken.Start < 0 {
		return fmt.Errorf("read a snapshot: %w: it begins at offset %d", ErrDamaged, taken.Start)
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{record.TopicSnapshots: {p.Partition: kgo.NewOffset().At(taken.Start)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(8<<20), kgo.FetchMaxPartitionBytes(8<<20),
		kgo.MaxConcurrentFetches(1),
	)...)
	if err != nil {
		return fmt.Errorf("kafka client of a snapshot: %w", err)
	}
	defer client.Close()
	end, err := p.end(ctx, client)
	if err != nil {
		return err
	}
	g := &getter{ctx: ctx, client: client, place: p, taken: taken, sum: sha256.New(), at: taken.Start, end: end}
	if err := read(g); err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	if _, err := io.Copy(io.Discard, g); err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	if got := g.sum.Sum(nil); string(got) != string(taken.Sum) {
		return fmt.Errorf("read a snapshot: %w: its SHA-256 is %x, want %x", ErrDamaged, got, taken.Sum)
	}
	return nil
}

func (p Place) end(ctx context.Context, client *kgo.Client) (int64, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, record.TopicSnapshots)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the end of the snapshots: %w", err)
	}
	end, _ := ends.Lookup(record.TopicSnapshots, p.Partition)
	return end.Offset, nil
}

// getter is the stream of a snapshot's chunks.
type getter struct {
	ctx    context.Context
	client *kgo.Client
	place  Place
	taken  Ref
	sum    hash.Hash
	id     []byte
	next   uint32
	at     int64 // offset of the next record
	end    int64 // what was the end: the snapshot lies before it
	rest   []byte
	ready  []*kgo.Record
}

func (g *getter) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if g.next == g.taken.Chunks {
			return 0, io.EOF
		}
		if err := g.chunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// chunk finds the next one among what lies there.
func (g *getter) chunk() error {
	for {
		for len(g.ready) > 0 {
			rec := g.ready[0]
			g.ready = g.ready[1:]
			g.at = rec.Offset + 1
			id := ""
			for _, h := range rec.Headers {
				if h.Key == headerID {
					id = string(h.Value)
				}
			}
			if string(rec.Key) != string(g.place.key(g.taken.No, g.next)) || g.next == 0 && rec.Offset != g.taken.Start || g.next > 0 && id != string(g.id) {
				if g.next == 0 {
					return fmt.Errorf("%w: its first chunk is gone", ErrDamaged)
				}
				continue
			}
			g.id = []byte(id)
			g.next++
			g.rest = rec.Value
			g.sum.Write(rec.Value)
			if len(rec.Value) > 0 {
				return nil
			}
		}
		if g.at >= g.end {
			return fmt.Errorf("%w: chunk %d of %d is not there", ErrDamaged, g.next, g.taken.Chunks)
		}
		fetches := g.client.PollFetches(g.ctx)
		if g.ctx.Err() != nil {
			return context.Cause(g.ctx)
		}
		if g.ready = fetches.Records(); len(g.ready) > 0 {
			continue
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read chunk %d of %d: %w", g.next, g.taken.Chunks, err)
		}
	}
}

// steps are how far back from the log's end the newest SnapshotTaken is looked for, one after the other. Farther back
// than the last of them, folding from the start costs little more.
var steps = []int64{4_000, 64_000, 512_000}

// Latest finds the newest snapshot that the registry's log names, from its end backwards; ok is false if there is none
// near. That the log holds it says nothing yet: it must be a link of the chain.
func Latest(ctx context.Context, cfg eventlog.Config) (taken event.SnapshotTaken, ok bool, err error) {
	for _, back := range steps {
		read := int64(0)
		err := eventlog.Tail(ctx, cfg, eventlog.TailSettings{Topics: []string{record.TopicRegistry}, Last: back}, func(rec *kgo.Record) error {
			if read == 0 {
				read = rec.Offset + 1
			}
			for _, h := range rec.Headers {
				if h.Key != record.HeaderType || string(h.Value) != event.TypeSnapshotTaken {
					continue
				}
				e, err := event.DecodeRegistry([]event.Header{{Key: h.Key, Value: h.Value}}, rec.Value)
				if b, is := e.Body.(event.SnapshotTaken); err == nil && is && b.Offset <= rec.Offset {
					taken, ok = b, true
				}
			}
			return nil
		})
		if err != nil {
			return event.SnapshotTaken{}, false, fmt.Errorf("look for a snapshot: %w", err)
		}
		if ok || read <= 1 {
			break
		}
	}
	return taken, ok, nil
}

// String names a snapshot for people.
func String(taken event.SnapshotTaken) string {
	return strings.Join([]string{registry.Prefix + "/" + strconv.Itoa(int(taken.Slot)), "event " + strconv.FormatUint(taken.Event, 10), hex.EncodeToString(taken.Sum)}, ", ")
}
