// StreamScope: TTL pulses from an Arduino or Teensy. Protocol: docs/howto/outputs.md
//
// Every byte from the computer is answered when it is carried out. All lines go low, whatever the computer wanted, when
// a pulse is over, and when nothing was heard from it for WATCHDOG_MS.

const byte LINES[] = {2, 3, 4, 5};          // pins of line 0, 1, ...
const unsigned long LONGEST_US = 1000000UL; // no pulse is longer: set it to what your animal and laser allow
const unsigned long WATCHDOG_MS = 250;

const byte N = sizeof(LINES);
const byte HELLO = 0x3F, ALIVE = 0x40, ALL_LOW = 0x41; // from the computer, and PULSE, WIDTH with a line
const byte PULSE = 0x10, WIDTH = 0x20, REFUSED = 0x70, REFUSED_WIDTH = 0x78, TRIPPED = 0x60;

unsigned long width_us[N], since_us[N], length_us[N], heard_ms; // width of the next pulse, start and width of this one
bool high[N];
byte wanted, got, argument[2]; // a WIDTH whose two bytes are still to come

void lower(byte line) {
  digitalWrite(LINES[line], LOW);
  high[line] = false;
}

void lower_all() {
  for (byte line = 0; line < N; line++) lower(line);
}

void pulse(byte line) {
  if (line >= N || high[line] || width_us[line] == 0) {
    Serial.write(REFUSED | line);
    return;
  }
  digitalWrite(LINES[line], HIGH);
  since_us[line] = micros();
  length_us[line] = width_us[line];
  high[line] = true;
  Serial.write(PULSE | line);
}

void set_width(byte line) {
  unsigned long us = 100UL * (argument[0] + 256UL * argument[1]);
  bool fine = line < N && us <= LONGEST_US;
  if (line < N) width_us[line] = fine ? us : 0;
  Serial.write((fine ? WIDTH : REFUSED_WIDTH) | line);
}

void take(byte b) {
  heard_ms = millis();
  if (wanted) {
    argument[got++] = b;
    if (got == 2) {
      set_width(wanted & 0x07);
      wanted = 0;
    }
  } else if ((b & 0xF8) == PULSE) {
    pulse(b & 0x07);
  } else if ((b & 0xF8) == WIDTH) {
    wanted = b;
    got = 0;
  } else if (b == ALIVE) {
    Serial.write(ALIVE);
  } else if (b == ALL_LOW) {
    lower_all();
    Serial.write(ALL_LOW);
  } else if (b == HELLO) {
    lower_all();
    Serial.write('S');
    Serial.write((byte)1); // version of the protocol
    Serial.write(N);
  }
}

void setup() {
  for (byte line = 0; line < N; line++) {
    pinMode(LINES[line], OUTPUT);
    lower(line);
  }
  Serial.begin(115200);
}

void loop() {
  while (Serial.available()) take(Serial.read());
  for (byte line = 0; line < N; line++) {
    if (high[line] && micros() - since_us[line] >= length_us[line]) lower(line);
  }
  if (millis() - heard_ms > WATCHDOG_MS) {
    bool any = false;
    for (byte line = 0; line < N; line++) any |= high[line];
    lower_all();
    wanted = 0;
    heard_ms = millis();
    if (any) Serial.write(TRIPPED);
  }
}
