# DBD::Pg through the proxy: libpq with statements that it prepares by name at their first execution.
use strict;
use warnings;
use DBI;
use DBD::Pg qw(:async :pg_types);

$| = 1;
my $mode   = $ENV{UNDERSTUDY_MODE};
my $large  = 3_000_000;
my $failed = 0;

sub login {
    return DBI->connect('dbi:Pg:', undef, undef,
        { AutoCommit => 1, RaiseError => 1, PrintError => 0, pg_server_prepare => 1, @_ });
}

my $main = login();

sub one { my ($sql, @values) = @_; return ($main->selectrow_array($sql, undef, @values))[0] }

sub expect {
    my ($actual, $expected) = @_;
    die sprintf("got %.200s instead of %.200s\n", $actual // 'undef', $expected) if ($actual // 'undef') ne $expected;
}

# The SQLSTATE of what must fail.
sub state_of {
    my ($do) = @_;
    return 'no error' if eval { $do->(); 1 };
    return $DBI::state || 'unknown';
}

sub check {
    my ($name, $do) = @_;
    if (eval { $do->(); 1 }) { print "ok $name\n"; return }
    my $why = $@;
    $why =~ s/\s+/ /g;
    print "failed $name: ", substr($why, 0, 300), "\n";
    $failed = 1;
}

check transactions => sub {
    $main->do('SET client_min_messages = warning');
    $main->do('DROP TABLE IF EXISTS dbd_rows');
    $main->do('CREATE TABLE dbd_rows (id int PRIMARY KEY, body text)');
    $main->begin_work;
    my $insert = $main->prepare('INSERT INTO dbd_rows VALUES (?, ?)');
    $insert->execute($_, "row $_") for 1 .. 200;
    $main->commit;
    $main->begin_work;
    $main->do('DELETE FROM dbd_rows');
    $main->rollback;
    expect(one('SELECT count(*) FROM dbd_rows'), 200);
    $main->begin_work;
    $main->pg_savepoint('here');
    $main->do('DELETE FROM dbd_rows');
    $main->pg_rollback_to('here');
    $main->commit;
    expect(one('SELECT count(*) FROM dbd_rows'), 200);
};

check prepared => sub {
    my @clients = map { login() } 1 .. 4;
    my @statements = map { $_->prepare('SELECT ?::int + 1') } @clients;
    for my $round (1 .. 20) {
        for my $statement (@statements) {
            $statement->execute($round);
            expect(($statement->fetchrow_array)[0], $round + 1);
            $statement->finish;
        }
    }
    undef @statements;
    $_->disconnect for @clients;
    # Without parameters and not prepared at all.
    my $unprepared = $main->prepare('SELECT 1', { pg_server_prepare => 0 });
    $unprepared->execute;
    expect(($unprepared->fetchrow_array)[0], 1);
    $unprepared->finish;
};

check copy => sub {
    $main->do('COPY dbd_rows FROM STDIN');
    $main->pg_putcopydata("$_\trow $_\n") for 1000 .. 20_999;
    $main->pg_putcopyend;
    $main->do('COPY (SELECT id FROM dbd_rows WHERE id >= 1000 ORDER BY id) TO STDOUT');
    my ($line, $rows) = ('', 0);
    $rows++ while $main->pg_getcopydata(\$line) >= 0;
    expect($rows, 20_000);
    $main->do('COPY dbd_rows FROM STDIN');
    $main->pg_putcopydata("5\tduplicate\n");
    expect(state_of(sub { $main->pg_putcopyend }), '23505');
    expect(one('SELECT 1'), 1);
};

check cancel => sub {
    my $sleeping = $main->prepare('SELECT pg_sleep(30)', { pg_async => PG_ASYNC });
    $sleeping->execute;
    select(undef, undef, undef, 0.3);
    expect($main->pg_cancel, 1);
    expect($main->state, '57014');
    undef $sleeping;
    expect(one('SELECT 1'), 1);
};

check 'large results' => sub {
    my $rows = $main->selectall_arrayref("SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i");
    expect(scalar(@$rows), 50_000);
    expect(length(one("SELECT repeat('y', ?)", $large)), $large);
};

check 'large parameters' => sub {
    expect(one('SELECT length(?)', 'z' x $large), $large);
    my $bytes = $main->prepare('SELECT octet_length(?)');
    $bytes->bind_param(1, "\0\1" x 100_000, { pg_type => PG_BYTEA });
    $bytes->execute;
    expect(($bytes->fetchrow_array)[0], 200_000);
    $bytes->finish;
};

check cursors => sub {
    $main->begin_work;
    $main->do('DECLARE named CURSOR FOR SELECT generate_series(1, 5000)');
    my $sum = 0;
    while (1) {
        my $rows = $main->selectall_arrayref('FETCH 1000 FROM named');
        last unless @$rows;
        $sum += $_->[0] for @$rows;
    }
    $main->commit;
    expect($sum, 5000 * 5001 / 2);
};

check errors => sub {
    for (1 .. 5) {
        expect(state_of(sub { one('SELECT 1 / ?::int', 0) }), '22012');
        expect(state_of(sub { $main->do('no statement') }), '42601');
    }
    $main->begin_work;
    expect(state_of(sub { one('SELECT nothing') }), '42703');
    expect(state_of(sub { one('SELECT 1') }), '25P02');
    $main->rollback;
    expect(one('SELECT 2'), 2);
};

check settings => sub {
    my $other = login();
    my $show = sub { ($other->selectrow_array("SHOW $_[0]"))[0] };
    $other->do("SET application_name = 'dbd here'");
    $other->do("SET IntervalStyle = 'iso_8601'");
    expect($show->('application_name'), 'dbd here') for 1 .. 5;
    expect($show->('IntervalStyle'), 'iso_8601');
    $other->do("SET work_mem = '123MB'");
    expect($show->('work_mem'), $mode eq 'transaction' ? '4MB' : '123MB');
    $other->do('RESET ALL');
    expect($show->('work_mem'), '4MB');
    $other->disconnect;
};

check listen => sub {
    my $other = login();
    if ($mode eq 'transaction') {
        expect(state_of(sub { $other->do('LISTEN dbd_news') }), '0A000');
        expect(($other->selectrow_array('SELECT 1'))[0], 1);
    }
    else {
        $other->do('LISTEN dbd_news');
        $main->do("NOTIFY dbd_news, 'hello'");
        my $heard;
        for (1 .. 100) {
            $heard = $other->pg_notifies and last;
            select(undef, undef, undef, 0.1);
        }
        expect($heard ? $heard->[2] : 'nothing', 'hello');
    }
    $other->disconnect;
};

check 'two-phase' => sub {
    $main->begin_work;
    $main->do("INSERT INTO dbd_rows VALUES (-7, 'in two phases')");
    $main->do("PREPARE TRANSACTION 'dbd $mode'");
    # The driver believes that its transaction goes on.
    eval { $main->rollback };
    my $other = login();
    $other->do("COMMIT PREPARED 'dbd $mode'");
    $other->disconnect;
    expect(one('DELETE FROM dbd_rows WHERE id = -7 RETURNING body'), 'in two phases');
};

$main->disconnect;
exit $failed;
