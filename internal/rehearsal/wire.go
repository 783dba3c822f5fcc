package rehearsal

import (
	"encoding/json"
	"fmt"
	"time"
)

// span writes a duration as text ("2s") and reads text or a number of seconds.
type span time.Duration

func (d span) duration() time.Duration { return time.Duration(d) }

func (d span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

func (d *span) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch x := v.(type) {
	case nil:
		return nil
	case float64:
		*d = span(x * float64(time.Second))
		return nil
	case string:
		if x == "" {
			*d = 0
			return nil
		}
		p, err := time.ParseDuration(x)
		*d = span(p)
		return err
	}
	return fmt.Errorf("a duration is text such as \"2s\" or a number of seconds")
}

// MarshalJSON writes durations as text.
func (sw Switches) MarshalJSON() ([]byte, error) {
	type plain Switches
	return json.Marshal(struct {
		plain
		PropagationDelay span `json:"propagationDelay"`
		ClockSkew        span `json:"clockSkew"`
	}{plain(sw), span(sw.PropagationDelay), span(sw.ClockSkew)})
}

// UnmarshalJSON reads durations as text or seconds; members that are left out keep their value.
func (sw *Switches) UnmarshalJSON(b []byte) error {
	type plain Switches
	in := struct {
		*plain
		PropagationDelay span `json:"propagationDelay"`
		ClockSkew        span `json:"clockSkew"`
	}{(*plain)(sw), span(sw.PropagationDelay), span(sw.ClockSkew)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	sw.PropagationDelay, sw.ClockSkew = time.Duration(in.PropagationDelay), time.Duration(in.ClockSkew)
	return nil
}

// MarshalJSON writes the delay as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	return json.Marshal(struct {
		plain
		Delay span `json:"delay,omitempty"`
	}{plain(f), span(f.Delay)})
}

// UnmarshalJSON reads the delay as text or seconds.
func (f *Fault) UnmarshalJSON(b []byte) error {
	type plain Fault
	in := struct {
		*plain
		Delay span `json:"delay"`
	}{(*plain)(f), 0}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	f.Delay = time.Duration(in.Delay)
	return nil
}
