// The sketch on this machine: as much of Arduino as it uses, on a pseudoterminal. Prints "micros pin level" for each
// change of a line.
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
typedef unsigned char byte;
enum { LOW, HIGH, OUTPUT };
static int levels[256], fd;
static unsigned long long ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1000000000ULL * t.tv_sec + t.tv_nsec;
}
static unsigned long micros() { return ns() / 1000; }
static unsigned long millis() { return ns() / 1000000; }
static void pinMode(byte, int) {}
static void digitalWrite(byte pin, int level) {
  if (levels[pin] == level) return;
  levels[pin] = level;
  printf("%llu %d %d\n", ns(), pin, level);
  fflush(stdout);
}
struct {
  void begin(long) {}
  int available() {
    pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
  }
  int read() {
    byte b = 0;
    if (::read(fd, &b, 1) != 1) exit(0);
    return b;
  }
  void write(byte b) {
    if (::write(fd, &b, 1) != 1) exit(1);
  }
} Serial;
#include SKETCH
int main(int, char **argv) {
  fd = atoi(argv[1]);
  setup();
  for (;;) {
    loop();
    pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 1) > 0 && (p.revents & POLLHUP)) return 0;
  }
}
