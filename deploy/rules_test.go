package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A rule about a metric that was renamed never fires, and nobody sees that it does not.
func TestAlertsAreAboutMetricsThatThereAreAndNamePagesThatThereAre(t *testing.T) {
	rules, err := os.ReadFile("compose/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`muster_[a-z_]+`).FindAllString(string(rules), -1)
	if len(names) < 10 {
		t.Fatalf("only %d metrics are asked for", len(names))
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+strings.TrimSuffix(name, "_bucket")+"`") {
			t.Errorf("a rule asks for %s, which docs/metrics.md does not know", name)
		}
	}
	for _, name := range regexp.MustCompile(`docs/[a-z/-]+\.md`).FindAllString(string(rules), -1) {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestAlertsOfTheRunbooksAreThere(t *testing.T) {
	rules, err := os.ReadFile("compose/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d runbooks, %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("alerts? `([A-Za-z]+)`|alert on `(muster_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
			if name := m[1] + m[2]; !strings.Contains(string(rules), name) {
				t.Errorf("%s speaks of an alert %s that no rule gives", page, name)
			}
		}
	}
}
