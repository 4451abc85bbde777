/* What a daemon reads of one channel while it moves between nodes 0 and 1, there, back and again. Who lives is decided
   at once here: migration.pml is about that. The log arrives whole and in order: that is there, too.
   The publisher has one origin. It hands its first D events to the daemon itself, one after another, and puts the others
   on the channel; of those it may hand some to the daemon as well, so that they come two ways. Events are 1, 2, 3 …, the
   channel keeps all of its own, and a position is the number of the last event taken.
   A subscription is made at any time, and may be late, also after its copy is live. Taking an event and moving the
   position are two steps: what comes between them is the worst that an asynchronous `process` allows.
   LIVE: live mode. CRASHLIVE: a live copy crashes, and the one that it came from is recovered: then outputs may come twice. */
#ifndef TRIES
#define TRIES 3
#endif
#ifndef E
#define E 3
#endif
#ifndef D
#define D 1
#endif
#define me _pid
#define you (1-_pid)
mtype = { NONE, RUN, LOG, FEN, HOLD };
byte ack = 0, pub = D, out = 0;                         /* handed over before the channel began; published; outputs that are out */
mtype st[2] = NONE; byte b[2] = 0, k[2] = 0, p[2] = 0;  /* a copy: processed, logged behind that, recorded position */
bit away[2] = 0, sub[2] = 0, ih[2] = 0; byte s[2] = 0, q[2] = 0;   /* its reader: left; subscribed; an event in hand; read through, taken through */
byte cur = 0, tt[2] = 0, td[2] = 0, tn[2] = 0;          /* the try; of a copy that is held: its try, what its snapshot held, log entries applied */
bit own = 0, quiet = 0, waived = 0;
hidden byte never_two = 0, once_in_order = 0, outputs_once = 0, it_ends = 0, covered = 0;  /* always 0: names for assertions */
#define SEEN(n) (b[n] + k[n])                           /* the horizon: all through this, of the one origin */
#define TAKES(n) (st[n] == RUN || st[n] == LOG)

hidden byte e;                                          /* the event at hand */
inline output() { assert(waived || out == e - 1 || outputs_once); out = e }

/* An event for a live copy, from whichever side. */
inline take(event) { e = event;
#ifdef HORIZON_STAYS
  if :: e <= SEEN(me) && e > td[me] -> skip
#elif defined(NO_HORIZON)
  if :: false
#else
  if :: e <= SEEN(me) -> skip                           /* seen already: dropped */
#endif
  :: else ->
    assert(e == SEEN(me) + 1 || once_in_order);
    if :: st[me] == LOG -> k[me] = k[me] + 1;
#ifdef LIVE
         output()
#endif
       :: else -> assert(k[me] == 0 || once_in_order); b[me] = b[me] + 1; output()
    fi
  fi }

inline close() { sub[me] = 0; ih[me] = 0; s[me] = 0; q[me] = 0 }
inline gone() { st[me] = NONE; b[me] = 0; k[me] = 0; p[me] = 0; away[me] = 0; tt[me] = 0; td[me] = 0; tn[me] = 0; close() }
inline subscribe(from) { sub[me] = 1; s[me] = from; q[me] = from }
inline outputs_of_log() {
#ifndef LIVE
  if :: k[me] > 0 -> assert(waived || out == b[me] || outputs_once); out = b[me] + k[me] :: else fi
#else
  skip
#endif
}

/* The source goes on: it processes its log, and reads again. */
inline resume() { st[me] = RUN; tt[me] = 0;
#ifndef LOG_LAST
  outputs_of_log(); b[me] = b[me] + k[me]; k[me] = 0;
#endif
#ifndef NO_RESUB
  if :: away[me] -> away[me] = 0;
#ifdef RESUB_NOW
       p[me] = pub;
#endif
     :: else fi
#else
  skip
#endif
}

active [2] proctype Node() {
  if :: me == 0 -> st[0] = RUN; p[0] = D :: else fi;
end: do
  /* the publisher */
  :: atomic { !quiet && ack < D && TAKES(me) -> ack++; take(ack) }
  :: atomic { !quiet && me == 0 && ack == D && pub < E -> pub++ }
  :: atomic { !quiet && TAKES(me) && SEEN(me) >= D && SEEN(me) < pub -> take(SEEN(me) + 1) }

  /* the reader of a copy */
  :: atomic { !sub[me] && !away[me] && TAKES(me) && ack == D -> subscribe(p[me]) }
#ifndef UNSUB_FIRST
#ifdef FROM_NOW
  :: atomic { !sub[me] && st[me] == HOLD && p[me] < pub -> p[me] = pub; subscribe(pub) }
#else
  :: atomic { !sub[me] && st[me] == HOLD && ack == D -> subscribe(p[me]) }
#endif
#endif
  :: atomic { sub[me] && s[me] < pub -> s[me] = s[me] + 1;
#ifdef READAHEAD_ACK
       p[me] = s[me];
#endif
#ifdef READAHEAD_APPLY
       if :: st[me] == HOLD && s[me] > b[me] -> assert(s[me] == b[me] + 1 || once_in_order); b[me] = b[me] + 1 :: else fi;
#endif
     }
  :: atomic { sub[me] && TAKES(me) && !ih[me] && q[me] < s[me] -> ih[me] = 1;
#ifdef POSITION_FIRST
       p[me] = q[me] + 1 }
  :: atomic { ih[me] && TAKES(me) -> take(q[me] + 1); ih[me] = 0; q[me] = q[me] + 1 }
#else
       take(q[me] + 1) }
  :: atomic { ih[me] -> ih[me] = 0; q[me] = q[me] + 1; p[me] = q[me] }
#endif
  /* what the log has brought is let go of, and the position moves past it */
#ifdef PRUNE_UNSEEN
  :: atomic { st[me] == HOLD && q[me] < s[me] -> q[me] = q[me] + 1; p[me] = q[me] }
#else
  :: atomic { st[me] == HOLD && q[me] < s[me] && q[me] + 1 <= b[me] -> q[me] = q[me] + 1; p[me] = q[me] }
#endif

  /* the source */
  :: atomic { !quiet && st[me] == RUN && k[me] == 0 && own == me && cur < TRIES -> cur++; tt[me] = cur; st[me] = LOG; td[me] = b[me];
       /* the snapshot, which the other node restores now or never: state, horizon and position of this moment */
       if :: st[you] == NONE -> st[you] = HOLD; tt[you] = cur; b[you] = b[me]; td[you] = b[me]; p[you] = p[me] :: skip fi }
  :: atomic { st[me] == LOG -> resume() }
  :: atomic { !quiet && st[me] == LOG && !away[me] -> away[me] = 1; close() }       /* cutover: first it leaves its channels, */
  :: atomic { !quiet && st[me] == LOG && away[me] -> st[me] = FEN }                 /* then it stops */
  :: atomic { st[me] == FEN && own == me -> resume() }                              /* and takes its offer back */
  :: atomic { !quiet && st[me] == FEN && own == you -> gone() }                     /* confirmed */
#ifdef LOG_LAST
  :: atomic { st[me] == RUN && k[me] > 0 -> outputs_of_log(); b[me] = b[me] + k[me]; k[me] = 0 }
#endif
#ifdef CRASHLIVE
  :: atomic { !quiet && TAKES(me) && st[you] == FEN && own == me -> gone(); waived = 1 }
  :: atomic { st[me] == FEN && own == you && st[you] == NONE -> own = me; resume() }
#endif

  /* the target */
  :: atomic { !quiet && st[me] == HOLD && tt[me] == cur && tt[you] == cur && (st[you] == LOG || st[you] == FEN) && tn[me] < k[you] -> tn[me] = tn[me] + 1;
       if :: td[me] + tn[me] <= b[me] -> skip :: else -> assert(td[me] + tn[me] == b[me] + 1 || once_in_order); b[me] = b[me] + 1 fi }
  :: atomic { !quiet && st[me] == HOLD && tt[me] == cur && tt[you] == cur && st[you] == FEN && own == you && tn[me] == k[you] ->
       own = me; st[me] = RUN; tt[me] = 0; tn[me] = 0;
#ifdef LIVE
       assert(waived || out == b[me] || outputs_once);
#else
       if :: b[me] > out -> assert(waived || out == td[me] || outputs_once); out = b[me] :: else fi;
#endif
#ifdef UNSUB_FIRST
       p[me] = pub;
#endif
#ifndef HORIZON_STAYS
       td[me] = 0;
#endif
     }
  :: atomic { st[me] == HOLD && (!quiet || tt[me] != cur || tt[you] != cur) -> gone() }   /* dropped */
#ifdef COVER                                              /* sanity: these must be found */
#if COVER == 1
  :: atomic { st[me] == RUN && cur == TRIES && own == 1 && sub[me] && q[me] == E -> assert(covered) }
#elif COVER == 2
  :: atomic { st[me] == RUN && own == 1 && sub[me] && s[me] > q[me] + 1 && q[me] + 1 <= b[me] && st[0] == FEN -> assert(covered) }   /* read ahead both of what the log brought and of more */
#elif COVER == 3
  :: atomic { st[me] == LOG && cur == 2 && away[me] && p[me] < SEEN(me) && st[you] == HOLD && s[you] > SEEN(me) -> assert(covered) }  /* the target is ahead of a source that goes back */
#endif
#endif
  od }

active proctype Monitor() {
end: do
  :: atomic { TAKES(0) && TAKES(1) -> assert(never_two) }
  :: atomic { !quiet -> quiet = 1 }                                          /* from here: no faults, no orchestrator, nothing published */
  :: atomic { quiet && timeout ->
       /* a live copy that crashes after its confirmation leaves nothing to recover */
       assert((st[0] == RUN) + (st[1] == RUN) == 1 || (waived && st[0] == NONE && st[1] == NONE) || it_ends);
       /* each published event once, and the position behind the last of them */
       assert(!(st[0] == RUN && ack == D && (b[0] != pub || p[0] != pub)) || once_in_order);
       assert(!(st[1] == RUN && ack == D && (b[1] != pub || p[1] != pub)) || once_in_order); break }
  od }
