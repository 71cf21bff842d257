package admin

import (
	"encoding/json"
	"net/http"
)

// A Page is what the server answers at a path of its own, in JSON.
type Page struct {
	Path string
	// Answer returns what is to be shown, nil for nothing: then there is no such page.
	Answer func() any
}

func (p Page) show(w http.ResponseWriter, r *http.Request) {
	answer := p.Answer()
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}
