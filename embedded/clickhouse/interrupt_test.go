package clickhouse

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// slowInsert begins an INSERT whose body stays open, and returns what ends it.
func slowInsert(t *testing.T, table, id string) (body *io.PipeWriter, done <-chan reply) {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+store.Addr()+"/?query_id="+id+"&query="+url.QueryEscape("INSERT INTO "+table+" (no) FORMAT TSV"), r)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("muster", testSecret)
	answered := make(chan reply, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- reply{body: err.Error()}
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answered <- reply{res.StatusCode, res.Header.Get("X-ClickHouse-Exception-Code"), res.Header, string(b)}
	}()
	for i := range 1000 {
		fmt.Fprintln(w, i)
	}
	eventually(t, func() bool { return store.queries.get(id) != nil })
	return w, answered
}

func TestAnInsertWhoseBodyBreaksOffStoresNothing(t *testing.T) {
	_, table := sampleTable(t)
	body, done := slowInsert(t, table, "broken")
	body.CloseWithError(io.ErrUnexpectedEOF)
	<-done
	eventually(t, func() bool { return store.queries.get("broken") == nil })
	if got := must(t, "SELECT count() FROM "+table); got != "0" {
		t.Errorf("%s rows of half a body were stored", got)
	}
}

func TestAKilledInsertStoresNothingAndKillWaitsForItsEnd(t *testing.T) {
	_, table := sampleTable(t)
	body, done := slowInsert(t, table, "doomed")
	r := post(t, true, "KILL QUERY WHERE query_id = 'doomed' SYNC", "")
	if r.status != http.StatusOK || store.queries.get("doomed") != nil {
		t.Errorf("kill: %d %q, still there %v", r.status, r.body, store.queries.get("doomed") != nil)
	}
	body.Close()
	if got := <-done; got.status == http.StatusOK {
		t.Errorf("the killed insert: %d %s", got.status, got.body)
	}
	if got := must(t, "SELECT count() FROM "+table); got != "0" {
		t.Errorf("%s rows of a killed insert were stored", got)
	}
}

// A service's secret and its limits are told apart from what the engine was started with.
func TestTheEngineRunsWithItsConfiguration(t *testing.T) {
	newDatabase(t)
	for query, want := range map[string]string{
		"SELECT timezone()": "UTC",
		"SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'":  "4294967296",
		"SELECT value FROM system.server_settings WHERE name = 'mark_cache_size'":          "134217728",
		"SELECT value FROM system.server_settings WHERE name = 'background_pool_size'":     "2",
		"SELECT engine FROM system.databases WHERE name = 'muster'":                        "Atomic",
		"SELECT value FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'":   "1",
		"SELECT value FROM system.merge_tree_settings WHERE name = 'fsync_part_directory'": "1",
	} {
		if got := must(t, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
