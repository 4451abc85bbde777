/* One daemon, nodes 0 and 1 (each source and target), the register, a publisher, and an orchestrator without state.
   Any control frame (TakeSnapshot, CutoverNotify, ActivateTarget, MigrationFailed) may arrive at any time for any try:
   that covers loss, repeats, reordering, and an orchestrator that crashes, forgets or lies about control.
   Data frames: default = any frame ever really sent, any number of times; LIAR = any snapshot or event ever seen, or
   rubbish, under any try and any place in the log.
   RDELAY: register operations take effect at any later time, answers get lost, a node learns only by reading.
   LIVE: live mode; NONDET with it: a replay may put out something else. CRASHLIVE: live copies crash too.
   AHEAD (with RDELAY): a target may claim by what it read in the register at any time before.
   SPOOL (with RDELAY): copies that have stopped are kept in a file; a file that was deleted may be back after a crash, and
   a node may be away for a while, with the mesh knowing so, and come back with its file.
   ENDLESS: faults never stop, so that what comes then is not asked.
   A copy's content is the number of events it has applied, so a snapshot's digest is that number.
   A switch with NO_ or a fault's name takes one rule away; README.md says where each rule stands in the code. */
#ifndef TRIES
#define TRIES 3
#endif
#ifndef E
#define E 2
#endif
#define N (TRIES+1)
#define me _pid
#define you (1-_pid)
/* A copy: RUN live; LOG live, and being moved; STOP stopped, nothing offered yet; FEN stopped, and perhaps offered.
   What a node is being sent: HOLD restored; CLM claim in the air. */
mtype = { NONE, RUN, LOG, STOP, FEN, NO, HOLD, CLM };
byte acc = 0, pub = 0;                                  /* events accepted; events whose outputs are out */
byte rEp = 0, rTries = 0, oTry = 0, oD = 0, oK = 0; bit rOwn = 0;   /* the register; its offer goes to the other node */
mtype st[2] = NONE; byte b[2] = 0, k[2] = 0, ep[2] = 0, tr[2] = 0;  /* a node's copy: applied, logged, epoch, try */
mtype ts[2] = NO;   byte tt[2] = 0, td[2] = 0, tn[2] = 0, th[2] = 0, tep[2] = 0; bit tbad[2] = 0;  /* what it is being sent */
bit quiet = 0, waived = 0, fin = 0;
hidden byte never_two = 0, nothing_lost = 0, never_none = 0, nothing_stale = 0, outputs_once = 0, it_ends = 0, covered = 0;  /* always 0: names for assertions */
#ifdef LIAR
byte seenD = 0, seenE = 0;
#else
byte snapF[2*N] = 0; short logF[2*N] = 0;
#endif
short cf[2] = 0;                                        /* confirmations sent to that node, a bit per epoch */
#ifdef RDELAY
byte gh[2] = 0;                                         /* claim of a node that has forgotten it: epoch + 1 */
bit rc[2] = 0;                                          /* a recovery of that node is in the air */
bit gn[2] = 0;                                          /* the mesh, or a person, knows that what that node had is gone */
#define GONE(n) gn[n] = 1
#define ISGONE(n) gn[n]
#define NEWCOPY(n) gn[n] = 0
#endif
#ifndef RDELAY
#define GONE(n) skip
#define ISGONE(n) 1
#define NEWCOPY(n) skip
#endif
#ifdef SPOOL
mtype sf[2] = NONE; byte sb[2] = 0, sk[2] = 0, se[2] = 0, str[2] = 0;   /* the file: FEN as it stopped, RUN marked as resumed */
bit aw[2] = 0;                                          /* that node is gone, and will be back with its file */
#define HERE(n) (!aw[n])
#define SPOOLED(n) (sf[n] == FEN && se[n] == ep[n] && str[n] == tr[n])
#define MARKED(n) (sf[n] == RUN && se[n] == ep[n] && str[n] == tr[n])
#if defined(NO_MARK) || defined(MARK_LATE)
#define MAYLIVE(n) 1
#else
#define MAYLIVE(n) (!SPOOLED(n))
#endif
#define KEPT(n) (st[n] == NONE && sf[n] == FEN && sb[n] + sk[n] == acc)
/* What a restarted node reads in the register of a file: it stands as before, or goes on, having been taken back. A number
   of a later try says what the mark says. */
#ifdef NO_TRIES
#define ISLATEST(n) 1
#else
#define ISLATEST(n) (rTries == str[n])
#endif
/* The mesh knows that the owner's node is gone: where that has begun no further try, no file of it holds more than the backup. */
#ifdef RECOVER_LIVED_ON
#define LOST_AWAY(n) aw[n]
#else
#define LOST_AWAY(n) (aw[n] && rTries == tr[1 - n])
#endif
#define STANDS_AGAIN(n) (rOwn == n -> ((rEp == se[n] && oTry == str[n]) || (ISLATEST(n) && rEp <= se[n] + 2)) : rEp == se[n] + 1)
#define RECOVERED(n) ((rc[n] || ((SPOOLED(n) || MARKED(n)) && ISLATEST(n))) && rOwn == n && rEp == ep[n] + 2)
#else
#define MAYLIVE(n) 1
#define KEPT(n) 0
#define HERE(n) 1
#define LOST_AWAY(n) 0
#define RECOVERED(n) (rc[n] && rOwn == n && rEp == ep[n] + 2)
#endif
#ifdef CRASHLIVE
bit dead = 0;                                           /* a live copy has crashed, and nobody has recovered the daemon since */
#define STALE assert(!dead || nothing_stale)                             /* what goes live now has not seen what that copy saw */
#define REVIVED dead = 0
#else
#define STALE skip
#define REVIVED skip
#endif
#ifdef NONDET
bit dv[2] = 0;                                          /* the replay put out something else than the source */
#endif
#ifdef ACK_FORGETS
bit fg[2] = 0;
#endif
#if defined(NO_WEPOCH) || defined(OFFER_BLIND)
byte pT = 0, pD = 0, pK = 0, pE = 0; bit pN = 0;        /* a delayed copy of an offer */
#endif
#ifdef AHEAD
byte aE[2] = 0, aT[2] = 0, aD[2] = 0, aK[2] = 0;        /* the epoch and the offer that a target has read ahead */
#define NOTHINGAHEAD aE[me] = 0; aT[me] = 0; aD[me] = 0; aK[me] = 0
#endif
#ifdef CONFIRM_TRY                                      /* a confirmation names the try, not the epoch */
#define CONF_OUT tt[me]
#define CONF_IN tr[me]
#else
#define CONF_OUT rEp
#define CONF_IN (ep[me] + 1)
#endif
#define OUTPUTS(x) assert(waived || (x) || outputs_once)
#define ALIVE(n) (st[n] == RUN || st[n] == LOG)
#define GOOD(n) ((st[n] != NONE && b[n] + k[n] == acc) || KEPT(n))
#define NOTHERE(n) (st[n] == NONE || (st[n] == FEN && ep[n] != rEp))     /* no copy of this epoch */
#define MOVED(n) (rOwn != n && rEp == ep[n] + 1)
#define FORGOTTEN(n) (st[n] == FEN && rOwn != n && rEp > ep[n] + 1)      /* stopped for good, and nobody lets it go */

/* the source goes on: it processes its log */
inline resume() { STALE;
#ifdef NO_PROCESS_LOG
  k[me] = 0;
#endif
#ifdef LIVE
#ifdef LIVE_PROCESS_LOG
  if :: k[me] > 0 -> OUTPUTS(pub == b[me]) :: else fi;
#endif
#else
#ifdef ACK_FORGETS
  if :: fg[me] -> k[me] = 0 :: else fi;
#endif
  if :: k[me] > 0 -> OUTPUTS(pub == b[me]); pub = b[me] + k[me] :: else fi;
#endif
#ifdef RDELAY
  rc[me] = 0;
#endif
  b[me] = b[me] + k[me]; k[me] = 0; st[me] = RUN; tr[me] = 0; ep[me] = 0 }
#ifdef RDELAY
#define NO_RECOVERY rc[me] = 0
#else
#define NO_RECOVERY skip
#endif
inline letgo() { st[me] = NONE; b[me] = 0; k[me] = 0; ep[me] = 0; tr[me] = 0; NO_RECOVERY }
#ifdef SPOOL
inline stand() { st[me] = FEN; b[me] = sb[me]; k[me] = sk[me]; ep[me] = se[me]; tr[me] = str[me] }
#endif
#ifdef NONDET
#define SAME dv[n] = 0
#else
#define SAME skip
#endif
inline forget(n) { ts[n] = NO; tt[n] = 0; td[n] = 0; tn[n] = 0; th[n] = 0; tep[n] = 0; tbad[n] = 0; SAME }
#ifdef RDELAY
inline tidy() { if :: gh[0] && gh[0] != rEp + 1 -> gh[0] = 0 :: else fi; if :: gh[1] && gh[1] != rEp + 1 -> gh[1] = 0 :: else fi }
#else
#define tidy() skip
#endif
inline golive() { STALE;
#ifdef NONDET
  assert(!dv[me] || nothing_stale);
#endif
#ifndef OUT_EARLY
#if !defined(LIVE) || defined(LIVE_PUBLISHES)
  if :: tn[me] > 0 -> OUTPUTS(pub == td[me]); pub = th[me] :: else fi;
#endif
#endif
  st[me] = RUN; b[me] = th[me]; k[me] = 0; tr[me] = 0; ep[me] = 0;
  cf[you] = cf[you] | (1 << CONF_OUT); forget(me) }

inline restore(n, d) { forget(me); ts[me] = HOLD; tt[me] = n; td[me] = d; th[me] = d
#ifdef HIGHER_ENDS_SOURCE
  ; if :: st[me] == FEN && n > tr[me] -> letgo() :: else fi
#endif
}
/* A node with a copy of the daemon, in whatever state, takes no other. */
#if defined(HIGHER_ENDS_SOURCE) || defined(BESIDE_FENCED)
#define VACANT (!ALIVE(me) && HERE(me))
#else
#define VACANT (st[me] == NONE && HERE(me))
#endif
#ifdef LIAR
#define SNAPSEEN(n,d) (seenD & (1 << d))
#define LOGSEEN(e) (seenE & (1 << e))
#else
#define SNAPSEEN(n,d) (snapF[you*N + n] & (1 << d))
#define LOGSEEN(e) (logF[you*N + tt[me]] & (1 << (tn[me]*E + e - 1)))
#endif
#ifdef DROP_CLAIMING
#define REPLACEABLE (ts[me] == HOLD || ts[me] == CLM)
#else
#define REPLACEABLE (ts[me] == HOLD)
#endif
#ifdef RDELAY
#define GHOST if :: ts[me] == CLM && rEp == tep[me] -> gh[me] = tep[me] + 1 :: else fi
#else
#define GHOST skip
#endif
#define RESTORE(n,d) :: atomic { !quiet && n <= TRIES && SNAPSEEN(n,d) && VACANT && (ts[me] == NO || (REPLACEABLE && n > tt[me])) -> GHOST; restore(n,d) }

inline apply(e) { tn[me] = tn[me] + 1;
  if :: e != td[me] + tn[me] -> tbad[me] = 1 :: else fi;
#ifdef OUT_EARLY
  assert(e == pub + 1 || outputs_once); pub = e;
#endif
#ifdef NONDET
  if :: dv[me] = 1 :: skip fi;
#endif
  if :: e == th[me] + 1 -> th[me] = e :: else fi            /* horizon: a duplicate or a gap changes nothing */
#ifdef ACK_FORGETS
  ; if :: st[you] != NONE && tr[you] == tt[me] -> fg[you] = 1 :: skip fi
#endif
}
#define APPLY(e) :: atomic { !quiet && ts[me] == HOLD && tn[me] < E && LOGSEEN(e) -> apply(e) }

#ifdef NO_TRY
#define M_TRY 1
#else
#define M_TRY (oTry == tt[me])
#endif
#ifdef NO_DIGEST
#define M_DIG 1
#else
#define M_DIG (oD == td[me])
#endif
#ifdef NO_COUNT
#define M_CNT 1
#else
#define M_CNT (oK == tn[me])
#endif
#ifdef COUNT_ONLY
#define M_LOG 1
#else
#define M_LOG (!tbad[me])                               /* running digest over the log entries */
#endif
#if defined(NONDET) && !defined(NO_HEAD)
#define M_HEAD (!dv[me])
#else
#define M_HEAD 1
#endif
#ifdef NO_OFFER
#define MATCH (rOwn == you)
#else
#define MATCH (rOwn == you && oTry && M_TRY && M_DIG && M_CNT && M_LOG && M_HEAD)
#endif
#define AHEAD_MATCH (aT[me] == tt[me] && aD[me] == td[me] && aK[me] == tn[me] && M_LOG && M_HEAD)

inline logged() { k[me] = k[me] + 1; acc = acc + 1;
#ifdef LIVE
  pub = pub + 1;
#endif
#ifdef LIAR
  seenE = seenE | (1 << acc)
#else
  logF[me*N + tr[me]] = logF[me*N + tr[me]] | (1 << ((k[me]-1)*E + acc - 1))
#endif
}
inline withdraw() { rEp++; oTry = 0; oD = 0; oK = 0 }

active [2] proctype Node() {
  if :: me == 0 -> st[0] = RUN :: else fi;
end: do
  /* the publisher hands over the next event; what was accepted before is known by the horizon */
  :: atomic { !quiet && acc < E && st[me] == RUN -> b[me] = b[me] + 1; acc = acc + 1; pub = pub + 1 }
  :: atomic { !quiet && acc < E && st[me] == LOG && k[me] < E -> logged() }
#ifdef FENCED_ACCEPT
  :: atomic { !quiet && acc < E && st[me] == FEN && k[me] < E -> logged() }
#endif
#ifdef EARLY_ACCEPT
  :: atomic { !quiet && acc < E && ts[me] == HOLD && th[me] == acc -> th[me] = th[me] + 1; acc = acc + 1 }
#endif
  /* source; when quiet, only its deadline, withdrawal, read-back, letting go and recovery, and claims under way */
  :: atomic { !quiet && st[me] == RUN && rOwn == me && rTries < TRIES -> rTries++; ep[me] = rEp; st[me] = LOG; k[me] = 0; NEWCOPY(you);
#ifdef TRY_RESTART
       tr[me] = 1;
#else
       tr[me] = rTries;
#endif
#ifdef ACK_FORGETS
       fg[me] = 0;
#endif
#ifdef LIAR
       seenD = seenD | (1 << b[me])
#else
       snapF[me*N + tr[me]] = snapF[me*N + tr[me]] | (1 << b[me])
#endif
     }
  :: atomic { st[me] == LOG -> resume() }                                    /* deadline or MigrationFailed */
  :: atomic { !quiet && st[me] == LOG -> st[me] = STOP }                     /* CutoverNotify */
#ifdef SPOOL
  :: atomic { st[me] == STOP && MAYLIVE(me) -> resume() }                    /* nothing was offered: no need to ask the register */
  :: atomic { !quiet && st[me] == STOP && !SPOOLED(me) && !MARKED(me) -> sf[me] = FEN; sb[me] = b[me]; sk[me] = k[me]; se[me] = ep[me]; str[me] = tr[me] }
#ifdef SPOOL_LATE
  :: atomic { !quiet && st[me] == STOP && !MARKED(me) -> st[me] = FEN }
#else
  :: atomic { !quiet && st[me] == STOP && SPOOLED(me) -> st[me] = FEN }
#endif
#else
  :: atomic { st[me] == STOP -> resume() }
  :: atomic { !quiet && st[me] == STOP -> st[me] = FEN }
#endif
#ifndef NO_OFFER
  :: atomic { !quiet && st[me] == FEN && rOwn == me && rEp == ep[me] && !oTry -> oTry = tr[me]; oD = b[me]; oK = k[me]
#if defined(NO_WEPOCH) || defined(OFFER_BLIND)
       ; pT = oTry; pD = oD; pK = oK; pE = rEp; pN = me
#endif
     }
#endif
#ifdef OFFER_BLIND                                        /* it lands, whatever stands there by now */
  :: atomic { !quiet && pT && pN == me -> rOwn = me; rEp = pE; oTry = pT; oD = pD; oK = pK; pT = 0 }
#endif
#ifdef BLIND_WITHDRAW
  :: atomic { st[me] == FEN && rEp >= ep[me] -> rOwn = me; withdraw(); resume() }
#endif
#ifdef NO_WEPOCH
  :: atomic { st[me] == FEN && rOwn == me && rEp == ep[me] -> oTry = 0; oD = 0; oK = 0; resume() }
  :: atomic { !quiet && pT && pN == me && rOwn == me && !oTry -> oTry = pT; oD = pD; oK = pK }
#else
#ifdef RDELAY
  :: atomic { st[me] == FEN && rOwn == me && rEp == ep[me] -> withdraw(); tidy() }   /* withdrawal takes effect */
#ifdef LITERAL_LETGO
  :: atomic { st[me] == FEN && rOwn == me && rEp == ep[me] + 1 -> letgo() }  /* tried again, "lost" */
#endif
#ifdef OWNER_ONLY
  :: atomic { st[me] == FEN && rOwn == me && rEp != ep[me] -> resume() }
#else
  :: atomic { st[me] == FEN && rOwn == me && rEp == ep[me] + 1 && MAYLIVE(me) -> resume() }  /* and is read back */
#endif
#else
  :: atomic { st[me] == FEN && rOwn == me && rEp == ep[me] -> withdraw(); resume() }
#endif
#endif
#ifdef TRUST_FAILED
  :: atomic { !quiet && st[me] == FEN -> resume() }
#endif
#ifdef FORGED_CONFIRM
  :: atomic { !quiet && st[me] == FEN -> letgo() }
#endif
#ifdef CONFIRM_ANY
  :: atomic { !quiet && st[me] == FEN && cf[me] -> letgo() }
#endif
  :: atomic { !quiet && st[me] == FEN && (cf[me] & (1 << CONF_IN)) -> letgo() }
#ifdef OWN_FURTHER
  :: atomic { st[me] == FEN && rEp > ep[me] + 1 -> letgo() }
#else
#ifndef NO_FURTHER
  :: atomic { st[me] == FEN && rOwn != me && rEp > ep[me] + 1 -> letgo() }   /* somebody else had it since: long lost */
#endif
#endif
#ifndef NO_RECOVER
  /* the owner's node is gone for certain, with its copy or its claim: the daemon is taken back, by a person or by itself */
#ifdef RDELAY
  :: atomic { st[me] == FEN && MOVED(me) && (HERE(you) -> ISGONE(you) : LOST_AWAY(you)) && NOTHERE(you) && ts[you] != CLM -> rOwn = me; withdraw(); tidy(); rc[me] = 1; REVIVED }
  :: atomic { st[me] == FEN && RECOVERED(me) && MAYLIVE(me) -> resume() }
#ifdef RECOVER_LITERAL
  :: atomic { st[me] == FEN && rc[me] && rOwn == me -> letgo() }             /* tried again, "lost" */
#endif
#else
  :: atomic { st[me] == FEN && MOVED(me) && NOTHERE(you) -> rOwn = me; withdraw(); REVIVED; resume() }
#endif
#endif
#ifdef SPOOL
#ifndef NO_MARK
  :: atomic { SPOOLED(me) && st[me] == STOP -> sf[me] = RUN }
  :: atomic { SPOOLED(me) && st[me] == FEN && ((rOwn == me && rEp == ep[me] + 1) || RECOVERED(me)) -> sf[me] = RUN }
#ifdef MARK_LATE
  :: atomic { !quiet && ALIVE(me) && sf[me] == FEN -> sf[me] = RUN }
#endif
#endif
  /* crashes of a copy that has stopped: before the file is there it is a live one that crashes */
#ifdef CRASHLIVE
  :: atomic { !quiet && (st[me] == STOP || st[me] == FEN) && MARKED(me) -> letgo(); waived = 1; dead = 1; GONE(me) }
  :: atomic { !quiet && st[me] == STOP && !SPOOLED(me) && !MARKED(me) -> letgo(); waived = 1; dead = 1; GONE(me) }
#endif
  :: atomic { !quiet && (st[me] == STOP || st[me] == FEN) && SPOOLED(me) -> rc[me] = 0;
#ifdef RESTART_LIVE
       st[me] = FEN; resume() }
#elif defined(RESTART_FORGETS)
       sf[me] = NONE; letgo() }
#else
       st[me] = FEN }
#endif
#ifdef SPOOL_LATE
  :: atomic { !quiet && st[me] == FEN && !SPOOLED(me) && !MARKED(me) -> letgo() }
#endif
  /* the restart takes longer, and others hear that the node is gone */
  :: atomic { !quiet && (st[me] == STOP || st[me] == FEN) && SPOOLED(me) -> letgo(); aw[me] = 1 }
  :: atomic { aw[me] -> aw[me] = 0;
       if :: STANDS_AGAIN(me) -> stand() :: else fi }
  /* a restart finds a file: of a copy that is not here any more, or whose deletion did not last */
  :: atomic { !quiet && HERE(me) && st[me] == NONE && sf[me] == FEN && ts[me] == NO && STANDS_AGAIN(me) -> stand() }
#ifdef MARK_IGNORED
  :: atomic { !quiet && st[me] == NONE && sf[me] == RUN && ts[me] == NO && STANDS_AGAIN(me) -> sf[me] = FEN; stand() }
#endif
  /* `recover`, by a person, who knows that no other copy is left */
  :: atomic { st[me] == NONE && sf[me] == RUN && ts[me] == NO && st[you] == NONE && HERE(you) && ts[you] != CLM ->
       rOwn = me; rEp++; oTry = 0; oD = 0; oK = 0; tidy(); sf[me] = NONE; st[me] = RUN; b[me] = sb[me] + sk[me]; REVIVED }
#endif
#ifdef CRASHLIVE
  :: atomic { !quiet && ALIVE(me) -> letgo(); waived = 1; dead = 1; GONE(me) }
#endif
  /* target */
  RESTORE(1,0) RESTORE(1,1) RESTORE(1,2) RESTORE(2,0) RESTORE(2,1) RESTORE(2,2)
#if TRIES > 2
  RESTORE(3,0) RESTORE(3,1) RESTORE(3,2)
#endif
#if TRIES > 3
  RESTORE(4,0) RESTORE(4,1) RESTORE(4,2)
#endif
  APPLY(1) APPLY(2)
#if E > 2
  RESTORE(1,3) RESTORE(2,3)
#if TRIES > 2
  RESTORE(3,3)
#endif
  APPLY(3)
#endif
#ifdef LIAR
  :: atomic { !quiet && ts[me] == HOLD && tn[me] < E -> tn[me] = tn[me] + 1; tbad[me] = 1 }
#endif
  :: atomic { !quiet && REPLACEABLE -> GHOST; forget(me) }                   /* MigrationFailed, or a crash */
#ifdef NO_REGISTER
  :: atomic { !quiet && ts[me] == HOLD -> golive() }
#endif
#ifdef RDELAY
  :: atomic { !quiet && ts[me] == CLM -> GHOST; forget(me); GONE(me) }       /* crash while claiming */
  :: atomic { !quiet && ts[me] == HOLD && MATCH -> ts[me] = CLM; tep[me] = rEp }
#ifdef AHEAD
  :: atomic { !quiet && ts[me] == HOLD && rOwn == you && oTry && aT[me] != oTry -> aE[me] = rEp; aT[me] = oTry; aD[me] = oD; aK[me] = oK }
  :: atomic { !quiet && ts[me] == HOLD && AHEAD_MATCH -> ts[me] = CLM; tep[me] = aE[me]; NOTHINGAHEAD }
#endif
#ifdef NO_OFFER
#define STANDS 1
#else
#define STANDS oTry
#endif
#ifdef CLAIM_BLIND                                        /* it lands, whatever stands there by now */
  :: atomic { ts[me] == CLM -> rOwn = me; rEp = tep[me] + 1; oTry = 0; oD = 0; oK = 0; tidy() }
#endif
  :: atomic { ts[me] == CLM && rEp == tep[me] && STANDS -> rOwn = me; rEp++; oTry = 0; oD = 0; oK = 0; tidy() }
  :: atomic { gh[me] && rEp + 1 == gh[me] && STANDS && rOwn == you -> rOwn = me; rEp++; oTry = 0; oD = 0; oK = 0; tidy() }
  :: atomic { ts[me] == CLM && rOwn == me && rEp == tep[me] + 1 -> golive() }
  :: atomic { ts[me] == CLM && rEp > tep[me] && !(rOwn == me && rEp == tep[me] + 1) -> forget(me) }
#ifdef LITERAL_LETGO
  :: atomic { ts[me] == CLM && rEp > tep[me] -> forget(me) }
#endif
#else
  :: atomic { !quiet && ts[me] == HOLD && MATCH -> rOwn = me; rEp++; oTry = 0; oD = 0; oK = 0; golive() }
#endif
#ifdef COVER                                              /* sanity: these must be found */
#if COVER == 1
  :: atomic { rOwn == 0 && rEp == 2 && st[0] == RUN && b[0] == E && rTries == 2 -> assert(covered) }   /* there and back */
#elif COVER == 2
  :: atomic { rOwn == 1 && rTries == 3 && rEp == 3 && st[1] == RUN && b[1] == E && k[1] == 0 -> assert(covered) }   /* and there again */
#elif COVER == 3
  :: atomic { rOwn == 1 && rTries == 3 && rEp == 3 && st[0] == FEN && k[0] == E && st[1] == RUN -> assert(covered) }   /* two withdrawals, then over with a full log */
#elif COVER == 4
  :: atomic { rc[0] && st[0] == FEN && rOwn == 0 && b[0] + k[0] == E -> assert(covered) }     /* recovered, and not read back yet */
#elif COVER == 5
  :: atomic { dead && st[me] == NONE && sf[me] == RUN && sk[me] > 0 -> assert(covered) }      /* a live copy crashed, and its file is marked */
#elif COVER == 6
  :: atomic { !dead && st[me] == FEN && !rc[me] && rOwn == me && rEp == ep[me] + 2 && rTries == 1 -> assert(covered) }   /* crashed in the middle of its own recovery, and back from its file */
#elif COVER == 7
  :: atomic { !waived && aw[you] && st[me] == FEN && MOVED(me) && sb[you] + sk[you] > b[me] + k[me] -> assert(covered) }   /* a node is gone, and more stands in its file than in the backup */
#elif COVER == 8
  :: atomic { ts[me] == CLM && tep[me] != rEp && st[you] == LOG && rTries == 2 -> assert(covered) }   /* a claim by what was read before a withdrawal */
#endif
#endif
  od }

active proctype Monitor() {
end: do
  :: atomic { ALIVE(0) && ALIVE(1) -> assert(never_two) }
  :: atomic { !waived && ((ALIVE(0) && b[0] + k[0] != acc) || (ALIVE(1) && b[1] + k[1] != acc)) -> assert(nothing_lost) }
  :: atomic { !waived && (st[0] != NONE || st[1] != NONE || acc || rTries) && !GOOD(0) && !GOOD(1) -> assert(never_none) }
#ifndef ENDLESS
  :: atomic { !quiet && (st[0] != NONE || rTries) -> quiet = 1 }             /* from here: no faults, no orchestrator */
#endif
  :: atomic { quiet && !waived && timeout -> assert((st[0] == RUN) + (st[1] == RUN) == 1 || it_ends);
       assert(!(FORGOTTEN(0) || FORGOTTEN(1)) || it_ends); fin = 1; break }
  od }

#ifdef TERM
ltl ends { [] (quiet -> <> fin) }
#endif
