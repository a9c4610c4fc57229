//go:build linux

package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/platform/eventlog"
	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway/gatewaytest"
	"muster.dev/services/ingest/sink/rows"
)

// bareProducer is a producer with the gateway's linger and codec and nothing else.
func bareProducer(addr string) (*kgo.Client, error) {
	s := eventlog.DefaultProducerSettings()
	return kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(s.Linger), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.MaxBufferedRecords(s.MaxBufferedRecords), kgo.DefaultProduceTopic(record.TopicTelemetry))
}

// playBare is an HTTPS server that reads a body, produces it if it is told to, and answers.
func playBare(o order, in *json.Decoder) error {
	ca, err := os.ReadFile(filepath.Join(o.Dir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(filepath.Join(o.Dir, "server.pem"), filepath.Join(o.Dir, "server.key"))
	if err != nil {
		return err
	}
	var log *kgo.Client
	if o.Records {
		if log, err = bareProducer(o.Addr); err != nil {
			return err
		}
		defer log.Close()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, r.ContentLength)
			if _, err := io.ReadFull(r.Body, body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if log != nil {
				acked := make(chan error, 1)
				key := []byte(r.TLS.PeerCertificates[0].URIs[0].Path[len("/device/"):])
				log.TryProduce(context.Background(), &kgo.Record{Key: key, Value: body, Timestamp: time.Now()}, func(_ *kgo.Record, err error) { acked <- err })
				if err := <-acked; err != nil {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"stored","values":55}`)
		}),
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.ServeTLS(ln, "", "") }()
	fmt.Println(ln.Addr())
	err = until(in)
	_ = server.Close()
	<-served
	return err
}

// playProducer produces a drive's messages, as many at once as there are connections, each after the answer to the one
// before.
func playProducer(o order, in *json.Decoder) error {
	log, err := bareProducer(o.Addr)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Println("ready")
	for {
		var d drive
		if err := in.Decode(&d); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var wg sync.WaitGroup
		var mu sync.Mutex // over a
		var a answers
		for i := range o.Connections {
			wg.Go(func() {
				key, body := []byte(deviceName(i)), gatewaytest.NewMessage(i)
				acked := make(chan error, 1)
				sent := 0
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					a.Sent += sent
				}()
				for more := d.pauses(i, o.Connections); more(); sent++ {
					log.TryProduce(context.Background(), &kgo.Record{Key: key, Value: slices.Clone(body.Next()), Timestamp: time.Now()}, func(_ *kgo.Record, err error) { acked <- err })
					if err := <-acked; err != nil {
						mu.Lock()
						a.Failed++
						a.Said = err.Error()
						mu.Unlock()
						return
					}
				}
			})
		}
		wg.Wait()
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			return err
		}
	}
}

// drainRows is how many rows a prebuilt block has: what a plan of the sink brings.
const drainRows = 40_000

// playDrain is the sink's floor: fetch, decode, and post a block that was made once, as often as its rows are read.
func playDrain(o order) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	log, err := kgo.NewClient(kgo.SeedBrokers(o.Addr), kgo.ConsumeTopics(record.TopicTelemetry), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return err
	}
	defer log.Close()
	cfg := warehouse.DefaultConfig()
	cfg.Addr, cfg.Database, cfg.User, cfg.SecretFile = o.Store, o.Database, storeUser, o.Dir
	house, err := warehouse.Open(cfg)
	if err != nil {
		return err
	}
	defer house.Close()
	sheet := rows.NewSheet(plantCatalog{})
	sheet.Begin(rows.Settings{Gen: 1, Rev: 1})
	var block rows.Block
	var b batch.Batch
	const each = drainRows / plantSteps
	for read, sent := 0, 0; read < o.Messages; {
		fetches := log.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		records := fetches.Records()
		if block.Data == nil {
			// Made of whatever came first, over and over: the engine's work is not what this process is asked for.
			var m rows.Message
			for i := range each {
				m.Read(records[i%len(records)], plantCatalog{})
				sheet.Put(&m, rows.Stored)
			}
			block = sheet.Blocks()[0]
		}
		for _, r := range records {
			if err := b.Decode(r.Value); err != nil {
				return err
			}
			if read++; read%each == 0 {
				segments, err := block.Data.Segments()
				if err != nil {
					return err
				}
				sent++
				token := "floor-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(sent)
				if err := house.Insert(ctx, warehouse.Insert{Table: block.Table, Columns: block.Data.Names(), Token: token, QueryID: token, Body: segments, Rows: block.Rows}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
