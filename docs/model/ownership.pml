/* The core in a page: a daemon moves from S to T under orchestrator O, and a witness decides who lives. The network is
   the set of all frames ever sent: each may be delivered at any time, any number of times, in any order, or never. T and O
   crash and forget at any step; with LIAR, O sends what it likes for any try.
   Default: the witness is an ownership register, changed by compare-and-set. BARE: there is none, as for a dispatcher on
   its own: then nobody can say whether an offer has been taken up, and the target goes live at the source's own word. */
#ifndef TRIES
#define TRIES 3
#endif
#define N (TRIES+1)
mtype = { running, logging, fenced, released, none, holding, live };
mtype s = running;  byte sTry = 0, sDone = 0;          /* the source: never forgets */
mtype t = none;     byte tTry = 0, tDone = 0; bit tLast = 0, tWord = 0, tFalse = 0;  /* tFalse: its snapshot names O as the source */
bit rOwnerT = 0; byte rOffer = 0;                      /* the register */
byte oTry = 0, oPhase = 0;
bit take[N], snapO[N], snapT[N], restored[N], replayed[N], last[N], buf[N], cutover[N], cleanup[N], activate[N], ack[N], failS[N], failT[N], failO[N], confirm[N];
#ifdef NO_ATTEST
bit snapF[N], word[N];                                 /* a snapshot whose source O has changed to itself; O's word as that source */
#endif
bit tWasLive = 0;
hidden byte never_two = 0, never_none = 0, nothing_lost = 0, covered = 0;   /* always 0: names for assertions */
#define S_LIVE (s == running || s == logging)
#define T_LIVE (t == live)

inline pick(n) { n = 1; do :: n < TRIES -> n++ :: break od }
inline hold(n, false_) { t = holding; tTry = n; tLast = 0; tWord = 0; tFalse = false_; restored[n] = 1 }
inline forget() { t = none; tTry = 0; tLast = 0; tWord = 0; tFalse = 0 }

active proctype Source() { byte n;
end: do :: atomic { pick(n); if
  :: take[n] && s == running && n > sDone -> s = logging; sTry = n; snapO[n] = 1
  :: cutover[n] && s == logging && n == sTry ->
       s = fenced;
#if !defined(BARE) && !defined(NO_OFFER)
       rOffer = n;
#endif
       last[n] = 1; cleanup[n] = 1
  :: failS[n] && s == logging && n == sTry -> s = running; sDone = n
#ifdef TRUST_FAILED
  :: failS[n] && s == fenced && n == sTry -> s = running; sDone = n
#endif
  :: confirm[n] && s == fenced && n == sTry -> s = released
#ifdef FORGED_CONFIRM
  :: s == fenced -> s = released                                       /* anybody says so */
#endif
  :: s == logging -> s = running; sDone = sTry                         /* its own deadline */
#ifdef BLIND_WITHDRAW
  :: s == fenced -> rOffer = 0; s = running; sDone = sTry
#endif
#ifndef BARE
  :: s == fenced && !rOwnerT -> rOffer = 0; s = running; sDone = sTry  /* withdraw, by compare-and-set */
#endif
  :: else -> skip fi; n = 0 } od }

active proctype Target() { byte n;
end: do :: atomic { pick(n); if
  :: snapT[n] && t == none && n > tDone -> hold(n, 0)
  :: snapT[n] && t == holding && n > tTry -> hold(n, 0)
#ifdef NO_ATTEST
  :: snapF[n] && t == none && n > tDone -> hold(n, 1)
  :: word[n] && t == holding && n == tTry && tFalse -> tLast = 1; tWord = 1
#endif
  :: buf[n] && t == holding && n == tTry -> replayed[n] = 1
  :: last[n] && t == holding && n == tTry && !tFalse -> tLast = 1; tWord = 1; replayed[n] = 1
#ifdef NO_TAIL
  :: activate[n] && t == holding && n == tTry && (tWord || last[n]) ->
#elif defined(NO_WORD)
  :: activate[n] && t == holding && n == tTry ->
#else
  :: activate[n] && t == holding && n == tTry && tWord ->
#endif
#if defined(BARE) || defined(NO_REGISTER)
       assert(tLast || nothing_lost); t = live; tWasLive = 1; ack[n] = 1; confirm[n] = 1
#else
       if
#ifdef NO_OFFER
       :: !rOwnerT ->
#else
       :: !rOwnerT && rOffer == n ->
#endif
            rOwnerT = 1; rOffer = 0; t = live; tWasLive = 1; assert(tLast || nothing_lost); ack[n] = 1; confirm[n] = 1
       :: else -> forget(); tDone = n; failO[n] = 1 fi
#endif
  :: failT[n] && t == holding && n == tTry -> forget(); tDone = n; failO[n] = 1
  :: t == holding -> forget(); tDone = 0                                            /* crash: forgets all */
  :: t == live && s == fenced -> forget(); tDone = 0    /* a live daemon crashes before its activation is confirmed */
  :: else -> skip fi; n = 0 } od }

active proctype Orchestrator() { byte n;
end: do :: atomic { pick(n); if
  :: oPhase == 0 && oTry < TRIES -> oTry++; oPhase = 1; take[oTry] = 1
  :: snapO[n] && n == oTry && oPhase == 1 -> oPhase = 2; snapT[n] = 1
  :: restored[n] && n == oTry && oPhase == 2 -> oPhase = 3; buf[n] = 1
  :: replayed[n] && n == oTry && oPhase == 3 -> oPhase = 4; cutover[n] = 1
  :: cleanup[n] && n == oTry && oPhase == 4 -> oPhase = 5; activate[n] = 1
  :: ack[n] && n == oTry && oPhase == 5 -> oPhase = 0
  :: failO[n] && n == oTry && oPhase > 0 -> oPhase = 0; failS[n] = 1
  :: oPhase > 0 -> oPhase = 0; failS[oTry] = 1; failT[oTry] = 1                      /* gives up */
  :: oPhase > 0 -> oPhase = 0                                                       /* crashes and forgets */
#ifdef LIAR
  :: cutover[n] = 1
  :: activate[n] = 1
  :: failS[n] = 1; failT[n] = 1
  :: buf[n] = 1
#ifdef NO_ATTEST
  :: snapO[n] -> snapF[n] = 1
  :: word[n] = 1
#endif
#endif
  :: else -> skip fi; n = 0 } od }

active proctype Monitor() { end: do
  :: atomic { S_LIVE && T_LIVE -> assert(never_two) }
  :: atomic { s == released && !T_LIVE && !tWasLive -> assert(never_none) }
#ifdef COVER
  :: atomic { s == released && T_LIVE && tTry == TRIES -> assert(covered) }
#endif
  od }
