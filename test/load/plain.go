package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// plainBody is one request that the plain client sends.
type plainBody struct {
	Path string
	Body []byte
}

// plainResult is what the plain client reached.
type plainResult struct {
	rate float64 // requests per second
	// cpu is the processor time of one request: the client's, and the target's in this process.
	cpu time.Duration
}

// plainRate pushes n ready-made users at the target with so many workers, from a process of its
// own.
func plainRate(ctx context.Context, t *target, n, workers int) (plainResult, error) {
	t.empty()
	defer t.empty()
	own := ownCPU()
	out, err := helper(ctx, false, nil, "plain", "-base", t.base, "-n", strconv.Itoa(n), "-workers", strconv.Itoa(workers))
	if err != nil {
		return plainResult{}, fmt.Errorf("plain client: %w", err)
	}
	own = ownCPU() - own
	if users, _, _ := t.size(); users != n {
		return plainResult{}, fmt.Errorf("plain client: %d of %d users arrived", users, n)
	}
	var r plainResult
	var cpu int64
	if _, err := fmt.Sscan(out, &r.rate, &cpu); err != nil {
		return r, fmt.Errorf("plain client: %q: %w", out, err)
	}
	r.cpu = (time.Duration(cpu) + own) / time.Duration(n)
	return r, nil
}

// plainClient is the helper: it makes all bodies, then sends them as fast as net/http does.
func plainClient(args []string) error {
	flags := flag.NewFlagSet("plain", flag.ContinueOnError)
	base := flags.String("base", "", "base URL")
	n := flags.Int("n", 0, "users")
	workers := flags.Int("workers", 8, "workers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	bodies := make([]plainBody, *n)
	for i := range bodies {
		b, err := json.Marshal(map[string]any{
			"schemas":  []string{"urn:ietf:params:scim:schemas:core:2.0:User"},
			"userName": login(i), "externalId": fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i), "active": true,
			"name":        map[string]string{"givenName": fmt.Sprintf("Given%d", i%997), "familyName": fmt.Sprintf("Family%d", i%4999)},
			"displayName": fmt.Sprintf("Given%d Family%d", i%997, i%4999), "title": "Engineer", "timezone": "Europe/Amsterdam", "preferredLanguage": "en",
			"emails": []map[string]any{{"type": "work", "primary": true, "value": login(i) + "@" + domain}},
		})
		if err != nil {
			return err
		}
		bodies[i] = plainBody{Path: "/Users", Body: b}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *workers}}
	queue := make(chan plainBody, 2**workers)
	errs := make(chan error, *workers)
	var wg sync.WaitGroup
	begin, cpu := time.Now(), ownCPU()
	for range *workers {
		wg.Go(func() {
			for b := range queue {
				if err := push(client, *base, b); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for _, b := range bodies {
		queue <- b
	}
	close(queue)
	wg.Wait()
	took := time.Since(begin)
	cpu = ownCPU() - cpu
	select {
	case err := <-errs:
		return err
	default:
	}
	_, err := fmt.Fprintln(os.Stdout, perSecond(*n, took), int64(cpu))
	return err
}

func push(client *http.Client, base string, b plainBody) error {
	req, err := http.NewRequest(http.MethodPost, base+b.Path, bytes.NewReader(b.Body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+targetToken)
	req.Header.Set("Content-Type", "application/scim+json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
