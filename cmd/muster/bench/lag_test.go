//go:build linux

package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// seen is what the store showed at one instant: up to an offset of a partition, everything could be read.
type seen struct {
	part uint16
	off  uint64
	at   int64 // Unix ms
}

// measureLag has the whole pipeline run on these cores: first as fast as it goes, then, once everything is stored,
// at half of that. The lag of a message is from its record's time, which the gateway sets when it takes it, to the first answer
// of the store that had it; the store is asked ten times a second.
func measureLag(b testing.TB, r *report, sc scale, e *engineProcess) {
	s := newSite(b)
	defer s.end()
	h := e.house("lag")
	s.define(1, deviceMetrics, h.Warehouse)
	s.enrol(sc.connections, 1)
	gateway, addr := s.gateway()
	defer gateway.end()
	sink := s.sink(h)
	defer sink.end()
	devices := s.devices(addr, sc.connections)
	defer devices.end()
	whole := target{gateway, devices}

	stored := func() uint64 {
		return h.count("SELECT count() FROM %s.ledger WHERE outcome = 'stored'", h.Database())
	}
	drained := func(want uint64) {
		eventually(b, 2*time.Minute, func() (bool, string) {
			n := stored()
			return n >= want, fmt.Sprintf("%d of %d messages are stored", n, want)
		})
	}
	total := uint64(0)
	send := func(d drive) measured {
		m := whole.drive(b, d)
		total += uint64(m.Sent)
		return m
	}
	send(drive{For: sc.drive / 4})
	drained(total)
	m := send(drive{For: 3 * sc.drive})
	rate := m.rate
	drained(total)

	start := time.Now()
	ended := make(chan struct{})
	done := make(chan []seen)
	go func() {
		var all []seen
		defer func() { done <- all }()
		high := map[uint16]uint64{}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			rows, err := h.Conn().Query(b.Context(), fmt.Sprintf("SELECT part, max(off) FROM %s.ledger WHERE topic_gen = 1 GROUP BY part", h.Database()))
			if err != nil {
				b.Error(err)
				return
			}
			now := time.Now().UnixMilli()
			for rows.Next() {
				v := seen{at: now}
				if err := rows.Scan(&v.part, &v.off); err != nil {
					b.Error(err)
				}
				if v.off > high[v.part] {
					high[v.part] = v.off
					all = append(all, v)
				}
			}
			if err := rows.Err(); err != nil {
				b.Error(err)
			}
		}
	}()
	m = send(drive{For: sc.lag, Rate: rate / 2})
	drained(total)
	<-time.After(300 * time.Millisecond) // the last is seen too
	close(ended)
	all := <-done

	rows, err := h.Conn().Query(b.Context(), fmt.Sprintf("SELECT part, off, toUnixTimestamp64Milli(got) FROM %s.ledger WHERE topic_gen = 1 AND outcome = 'stored' AND got >= fromUnixTimestamp64Milli(%d)", h.Database(), start.UnixMilli()))
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var lags []int64
	for rows.Next() {
		var part uint16
		var off uint64
		var got int64
		if err := rows.Scan(&part, &off, &got); err != nil {
			b.Fatal(err)
		}
		i := slices.IndexFunc(all, func(v seen) bool { return v.part == part && v.off >= off })
		if i < 0 {
			b.Fatalf("offset %d/%d was never seen", part, off)
		}
		lags = append(lags, all[i].at-got)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	slices.Sort(lags)
	b.Logf("whole pipeline %.0f messages/s, half of it sent as %.0f; %d lags: p50 %d ms, p99 %d ms, most %d ms", rate, m.rate, len(lags), lags[len(lags)/2], lags[len(lags)*99/100], lags[len(lags)-1])
	r.add(figure{Name: "whole pipeline on these cores, devices too", Value: rate * samplesPerMessage / 1e6, Unit: "M samples/s"})
	r.add(figure{Name: "data lag p50 at half of that", Value: float64(lags[len(lags)/2]) / 1000, Unit: "s"})
	f := r.add(figure{Name: "data lag p99 at half of that", Value: float64(lags[len(lags)*99/100]) / 1000, Unit: "s"})
	f.atMost(7)
	h.drop()
}
