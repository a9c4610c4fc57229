package health

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Machine is where a device's files are.
type Machine struct {
	Root string // "/", or a directory that stands for it
	Disk string // a path on the disk that is watched
}

// maxZones bounds the thermal zones that are read.
const maxZones = 32

func (m Machine) path(name string) string { return filepath.Join(m.Root, filepath.FromSlash(name)) }

// Vitals are the fields of a heartbeat: uptime_s, load_1, mem_total_kb, mem_available_kb, disk_total_kb, disk_free_kb,
// temp_c (of the hottest zone) and agent_rss_kb, each if the machine has it.
func (m Machine) Vitals() map[string]any {
	v := map[string]any{}
	if up, ok := m.uptime(); ok {
		v["uptime_s"] = up
	}
	if first, _, _ := strings.Cut(small(m.path("proc/loadavg")), " "); first != "" {
		if load, ok := number(first); ok {
			v["load_1"] = load
		}
	}
	m.memory(v)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(m.Disk, &fs); err == nil {
		size := uint64(fs.Bsize)
		v["disk_total_kb"] = int64(fs.Blocks * size / 1024)
		v["disk_free_kb"] = int64(fs.Bavail * size / 1024)
	}
	if t, ok := m.temperature(); ok {
		v["temp_c"] = t
	}
	if fields := strings.Fields(small(m.path("proc/self/statm"))); len(fields) > 1 {
		if pages, ok := number(fields[1]); ok {
			v["agent_rss_kb"] = int64(pages) * int64(os.Getpagesize()) / 1024
		}
	}
	return v
}

func (m Machine) uptime() (int64, bool) {
	first, _, _ := strings.Cut(small(m.path("proc/uptime")), " ")
	up, ok := number(first)
	return int64(up), ok
}

func (m Machine) memory(v map[string]any) {
	for line := range strings.Lines(small(m.path("proc/meminfo"))) {
		name, rest, _ := strings.Cut(line, ":")
		field := map[string]string{"MemTotal": "mem_total_kb", "MemAvailable": "mem_available_kb"}[name]
		if parts := strings.Fields(rest); field != "" && len(parts) > 0 {
			if kb, ok := number(parts[0]); ok {
				v[field] = int64(kb)
			}
		}
	}
}

func (m Machine) temperature() (hottest float64, ok bool) {
	zones, err := filepath.Glob(m.path("sys/class/thermal/thermal_zone*/temp"))
	if err != nil {
		return 0, false
	}
	hottest = math.Inf(-1)
	for _, zone := range zones[:min(len(zones), maxZones)] {
		if milli, is := number(small(zone)); is && milli > -100_000 && milli < 300_000 {
			hottest, ok = max(hottest, milli/1000), true
		}
	}
	return hottest, ok
}
