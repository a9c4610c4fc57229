package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"muster.dev/embedded/kafka"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// loadOrder is what the benchmark asks of the process that plays the devices.
type loadOrder struct {
	Dir         string // of the certificates
	Addr        string
	Connections int
	Messages    int
	Rate        int
	Steps       int  // of a message
	MQTT        bool // else HTTPS
}

// sender is a device with its connection, over HTTPS or MQTT.
type sender interface {
	Send() error
	Taken() (took *[]time.Duration, err error)
	Close() error
}

func (o loadOrder) connect(i int) (sender, error) {
	device := "bench-" + strconv.Itoa(i)
	if o.MQTT {
		return gatewaytest.ConnectMQTT(o.Dir, device, o.Addr, i, o.Steps)
	}
	return gatewaytest.ConnectOf(o.Dir, device, o.Addr, i, o.Steps)
}

// loadReport is what it answers.
type loadReport struct {
	Failed   int
	Said     string // the first failure
	P50, P99 time.Duration
}

// playPart is the main function of the benchmark's other processes. Each ends when its input does.
func playPart(name string) int {
	var err error
	switch name {
	case "broker":
		err = playBroker()
	case "gateway":
		err = playGateway()
	case "load":
		err = playLoad()
	default:
		err = fmt.Errorf("no part %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

func playBroker() error {
	b, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true})
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println(b.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func playLoad() error {
	in := json.NewDecoder(os.Stdin)
	var o loadOrder
	if err := in.Decode(&o); err != nil {
		return err
	}
	senders := make([]sender, o.Connections)
	for i := range senders {
		s, err := o.connect(i)
		if err != nil {
			return err
		}
		defer s.Close()
		senders[i] = s
	}
	run(senders, o.Messages/5, o.Rate)
	fmt.Println("warm")
	var word string
	if err := in.Decode(&word); err != nil {
		return err
	}
	for _, s := range senders {
		took, _ := s.Taken()
		*took = (*took)[:0]
	}
	run(senders, o.Messages, o.Rate)
	var report loadReport
	var took []time.Duration
	for _, s := range senders {
		its, err := s.Taken()
		took = append(took, *its...)
		if err != nil {
			report.Said = err.Error()
		}
	}
	report.Failed = o.Messages/o.Connections*o.Connections - len(took)
	if slices.Sort(took); len(took) > 0 {
		report.P50, report.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// run has each sender send its share, all at once, each after its last answer.
func run(senders []sender, messages, rate int) {
	var wg sync.WaitGroup
	pause := time.Duration(0)
	if rate > 0 {
		pause = time.Duration(float64(time.Second) * float64(len(senders)) / float64(rate))
	}
	for i, s := range senders {
		wg.Go(func() {
			next := time.Now().Add(pause * time.Duration(i) / time.Duration(len(senders)))
			for range messages / len(senders) {
				if pause > 0 {
					<-time.After(time.Until(next))
					next = next.Add(pause)
				}
				if _, err := s.Taken(); err != nil || s.Send() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}
