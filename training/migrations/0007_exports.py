import django.db.models.deletion
import django.utils.timezone
import training.export_row
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('training', '0006_trackers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.CharField(default=training.export_row.new_export_id, editable=False, max_length=40, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('queued', 'Waiting'), ('running', 'Merging'), ('succeeded', 'Ready'), ('failed', 'Failed')], default='queued', max_length=20)),
                ('message', models.TextField(blank=True)),
                ('report_json', models.JSONField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('claim', models.CharField(blank=True, max_length=40)),
                ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                ('checkpoint', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='export', to='training.checkpoint')),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exports', to='accounts.project')),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('status__in', ['succeeded', 'failed'])), models.Q(('finished_at', None), ('status__in', ['queued', 'running'])), _connector='OR'), name='finished_exports_have_a_time')],
            },
        ),
    ]
