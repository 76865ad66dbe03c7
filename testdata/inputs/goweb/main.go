// A web server that answers every request with one line.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello, Docker!")
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
