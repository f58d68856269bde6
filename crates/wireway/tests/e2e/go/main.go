// An HTTP client and server in Go, linked statically: `go-program get URL…` writes the bodies, all fetched at
// once, to its standard output in order; `go-program serve ADDRESS` echoes what is put to it.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func get(urls []string) error {
	type result struct {
		body []byte
		err  error
	}
	results := make([]chan result, len(urls))
	for i, url := range urls {
		results[i] = make(chan result, 1)
		go func(url string, done chan result) {
			response, err := http.Get(url)
			if err != nil {
				done <- result{err: err}
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			done <- result{body, err}
		}(url, results[i])
	}
	for _, done := range results {
		r := <-done
		if r.err != nil {
			return r.err
		}
		if _, err := os.Stdout.Write(r.body); err != nil {
			return err
		}
	}
	return nil
}

func serve(address string) error {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %d\n", r.Method, r.URL.Path, len(body))
		w.Write(body)
	})
	return http.ListenAndServe(address, nil)
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: go-program get URL… | serve ADDRESS")
	}
	var err error
	if os.Args[1] == "get" {
		err = get(os.Args[2:])
	} else {
		err = serve(os.Args[2])
	}
	if err != nil {
		log.Fatal(err)
	}
}
