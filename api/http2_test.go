package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// HTTP/2 where it is offered and requests may share a connection.
func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		shared, offered bool
		want            int
	}{{true, true, 2}, {true, false, 1}, {false, true, 1}} {
		t.Run(fmt.Sprintf("shared %v, offered %v", tt.shared, tt.offered), func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			s.EnableHTTP2 = tt.offered
			s.StartTLS()
			defer s.Close()
			tr := newTransport(2, tt.shared)
			tr.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig
			tr.TLSClientConfig.NextProtos = nil
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr}).Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.ProtoMajor != tt.want {
				t.Errorf("HTTP/%d, want HTTP/%d", res.ProtoMajor, tt.want)
			}
		})
	}
}
